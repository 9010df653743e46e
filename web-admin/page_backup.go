package webadmin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/mailweir/mailweir/web-admin/sealed"
)

// backupView answers: what would I have to do on a new box?
type backupView struct {
	Admin   string // who asks, whose password is asked for
	Waiting []string
	Errors  []formError
	Looked  *restoredView // what a file would change, or has changed
}

type restoredView struct {
	Done    bool
	Made    moment
	Box     string
	Version string
	Files   []string
	Changed []difference
	More    string
	Remarks []ConfigProblem
	Waiting []string
}

func (s *Server) backupPage(w http.ResponseWriter, r *http.Request) {
	s.showBackup(w, r, http.StatusOK, backupView{})
}

func (s *Server) showBackup(w http.ResponseWriter, r *http.Request, status int, v backupView) {
	if s.opt.Source != nil { // else nothing is in force that could wait
		if c, err := s.opt.Source.Config(); err == nil { // with a broken file a restore is what mends it
			v.Waiting = c.Waiting
		}
	}
	v.Admin = actorOf(r).name
	s.render(w, r, status, "backup", frame{Title: "Backup", Here: "/settings"}, v)
}

// backup gives the file. It is a POST, since it is noted who took the box's secrets away, and asks for the password again: who finds a browser open takes none.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	passphrase := r.PostFormValue("passphrase")
	if passphrase != "" {
		err := sealed.Check(passphrase)
		if passphrase != r.PostFormValue("again") {
			err = errors.New("the two are not the same")
		}
		if err != nil {
			s.showBackup(w, r, http.StatusBadRequest, backupView{Errors: []formError{{"passphrase", "Passphrase", err.Error()}}})
			return
		}
	}
	if !s.passwordAgain(w, r, func() {
		s.showBackup(w, r, http.StatusBadRequest, backupView{Errors: []formError{{"now-backup", yourPassword, wrongNow}}})
	}) {
		return
	}
	file, kind, err := s.backupOf(actorOf(r).who, passphrase)
	if wrong, known := whatWasWrong(err, nil); known {
		s.showBackup(w, r, http.StatusConflict, backupView{Errors: wrong})
		return
	}
	if err != nil {
		s.broken(w, r, err, "No backup was made")
		return
	}
	name := s.backupName()
	if passphrase != "" {
		name += ".age"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, name))
	w.Write(file)
}

func (s *Server) backupName() string {
	return "mailweir-" + safeName(s.opt.Source.Status().Box) + "-" + s.opt.Now().UTC().Format("20060102-1504") + ".zip"
}

// safeName is what of a name can be in the name of a file.
func safeName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, name)
}

// restore looks at a file, or puts it back: it has to be sent for either, so that nothing stays on the box that nobody wanted.
func (s *Server) restore(w http.ResponseWriter, r *http.Request) {
	var content []byte
	arrive(w, r)
	file, _, err := r.FormFile("file")
	if err == nil {
		content, err = io.ReadAll(file)
		err = errors.Join(err, file.Close())
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		s.refuse(w, r, http.StatusRequestEntityTooLarge, "The file is too large", "At most "+size(large.Limit)+". Nothing was changed.")
		return
	}
	if err != nil || len(content) == 0 {
		s.showBackup(w, r, http.StatusBadRequest, backupView{Errors: []formError{{"file", "File", "choose a backup"}}})
		return
	}
	if content, err = s.opened(content, r.PostFormValue("opens")); err != nil {
		s.showBackup(w, r, http.StatusBadRequest, backupView{Errors: []formError{{"opens", "Passphrase", err.Error()}}})
		return
	}
	dry := r.PostFormValue("do") != "restore"
	unsure := func(why string) {
		s.showBackup(w, r, http.StatusBadRequest, backupView{Errors: []formError{{"now-restore", yourPassword, why}}})
	}
	sure := r.PostFormValue("now") != ""
	if sure && !s.passwordAgain(w, r, func() { unsure(wrongNow) }) {
		return
	}
	o, err := s.box.Restore(content, dry, sure, actorOf(r).who)
	if keys, ok := errors.AsType[NotSure](err); ok {
		why := "is needed: a backup brings secrets and certificates"
		if len(keys) > 1 {
			why = "is needed: by this file records or notices go where they do not go now (" + strings.Join(keys[1:], ", ") + ")"
		}
		unsure(why)
		return
	}
	if wrong, known := whatWasWrong(err, keyLabels{{"file", "file", "File"}}); known {
		s.showBackup(w, r, http.StatusBadRequest, backupView{Errors: wrong})
		return
	}
	if err != nil {
		s.broken(w, r, err, "Nothing was restored")
		return
	}
	v := &restoredView{Done: !dry, Made: zone{s.opt.Now(), s.opt.Location}.clock(o.Made.Time), Box: inert(o.Box), Version: inert(o.Version), Waiting: o.Config.Waiting}
	for _, f := range o.Files {
		v.Files = append(v.Files, inert(f))
	}
	v.Changed, v.More = s.differences(o.Config.Changed)
	for _, p := range o.Config.Warnings {
		v.Remarks = append(v.Remarks, ConfigProblem{Key: inert(p.Key), Message: inert(p.Message)})
	}
	s.showBackup(w, r, http.StatusOK, backupView{Looked: v})
}
