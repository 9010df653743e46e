package webadmin

import (
	"errors"
	"io"
	"net/http"

	"github.com/mailweir/mailweir/web-admin/sealed"
)

type (
	configBody struct {
		Config   string `json:"config"`   // YAML or JSON
		Revision string `json:"revision"` // that it was made from; empty: whichever
		filesBody
		againBody
	}
	checkBody struct {
		Config string `json:"config"` // YAML or JSON
		filesBody
	}
	// filesBody has what files say that the configuration is to name: secrets, authorities' certificates. The box keeps each under a name of its own, which it
	// puts at the key.
	filesBody struct {
		Files []fileBody `json:"files,omitempty"`
	}
	fileBody struct {
		Key     string `json:"key"`
		Content string `json:"content"`
	}
	backupBody struct {
		Passphrase string `json:"passphrase,omitempty"` // the file is locked with it
		againBody
	}
	listBody struct {
		CSV string `json:"csv"`
	}
)

// restartAnswer says that a restart was asked for.
type restartAnswer struct {
	Restarting bool `json:"restarting"`
}

func configRoutes() []route {
	return []route{
		{"GET", apiRoot + "/config", administering, (*Server).apiConfig, &operation{summary: "The configuration: its text, revision, and what it says with all defaults"}},
		{"PUT", apiRoot + "/config", administering, (*Server).apiSetConfig, &operation{summary: "Put a whole configuration on the disk and in force, or change nothing; keys that cannot change while running wait for a restart. It names no files but those that the one of now names; what is to be in a new one, such as a webhook's secret, comes in files, with its key (notices.webhooks[0].secret_file). Where records, notices or public metrics would go elsewhere by it (syslog.targets, notices, fleet, admin.metrics_public), or could (management), or another certificate is shown (admin.tls), the session of a login sends its own password in now, a token does not",
			body: configBody{}, answer: ConfigOutcome{}}},
		{"GET", apiRoot + "/config/revisions", administering, (*Server).apiRevisions, &operation{summary: "Who changed the configuration through the web admin, its API or a restore, and what, newest first, as far back as records are kept; the texts of before are not kept. What was changed by hand on the box is a record of kind CONFIG",
			query: []string{"limit", "cursor"}, answer: ConfigRevisions{}}},
		{"POST", apiRoot + "/config/check", administering, (*Server).apiCheckConfig, &operation{summary: "What would become of a configuration; nothing is changed", body: checkBody{}, answer: ConfigOutcome{}}},
		{"POST", apiRoot + "/config/subscribers/check", administering, (*Server).apiCheckList, &operation{summary: "What is in a list of subscribers, and what is wrong with it, by line", body: listBody{}, answer: ListOutcome{}}},
		{"PUT", apiRoot + "/config/subscribers", administering, (*Server).apiSetList, &operation{summary: "Put a list of subscribers in the place of the one there is, at once", body: listBody{}, answer: ListOutcome{}}},
		{"POST", apiRoot + "/backup", administering, (*Server).apiBackup, &operation{summary: "One file of the configuration and what it names, secrets too; with a passphrase it is locked (age), as application/octet-stream; the session of a login sends its own password in now, a token does not", body: backupBody{}, media: "application/zip"}},
		{"POST", apiRoot + "/restore", administering, (*Server).apiRestore, &operation{summary: "Put a backup back, all of it or nothing; dry_run only says what would change. A locked one is opened by the passphrase in the header " + passphraseHeader + ". Where records or notices would go elsewhere by it the session of a login sends its own password in " + passwordHeader, query: []string{"dry_run"}, headers: []string{passphraseHeader, passwordHeader}, takes: "application/zip", answer: RestoreOutcome{}}},
		{"POST", apiRoot + "/restart", administering, (*Server).apiRestart, &operation{summary: "Begin the program anew, which takes what waits for it", answer: restartAnswer{}}},
	}
}

func (s *Server) apiConfig(w http.ResponseWriter, r *http.Request) {
	c, err := s.opt.Source.Config()
	if err != nil {
		s.configNotDone(w, err, "The configuration cannot be read")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"text": c.Text, "revision": c.Revision, "values": c.Values, "warnings": orEmpty(c.Warnings), "waiting_for_restart": orEmpty(c.Waiting)})
}

// configNotDone says why a change of the configuration was not made.
func (s *Server) configNotDone(w http.ResponseWriter, err error, not string) {
	var wrong WrongConfig
	var unsure NotSure
	switch {
	case errors.As(err, &unsure):
		p := problemDetails{Title: not, Status: http.StatusBadRequest, Errors: []fieldError{{Field: "now", Message: "is needed for this: the password of who asks"}}}
		for _, key := range unsure {
			if key != "file" {
				p.Errors = append(p.Errors, fieldError{Field: key, Message: goesElsewhere})
			}
		}
		writeProblem(w, p)
	case errors.As(err, &wrong):
		p := problemDetails{Title: "The configuration is not good", Status: http.StatusBadRequest}
		for _, one := range wrong {
			p.Errors = append(p.Errors, fieldError{Field: one.Key, Line: one.Line, Message: one.Message})
		}
		writeProblem(w, p)
	case errors.Is(err, ErrConfigChanged):
		problem(w, http.StatusConflict, not, "It has another revision meanwhile; read it again.")
	default:
		s.notDone(w, err, not)
	}
}

// goesElsewhere is why a key of the configuration wants the password of who changes it: somebody else's open browser must not send away what the box sees.
const goesElsewhere = "has records, notices or figures go elsewhere, or could have them do so"

func (s *Server) apiSetConfig(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	c := ConfigChange{Text: b.document("config"), Revision: b.text("revision", true), Files: b.files(), Sure: actorOf(r).cookie == ""}
	if _, there := b.members["now"]; there && !c.Sure {
		if !s.surelyToo(w, r, b) {
			return
		}
		c.Sure = true
	}
	if b.refused(w) {
		return
	}
	o, err := s.opt.Source.SetConfig(c, actorOf(r).who)
	if err != nil {
		s.configNotDone(w, err, "Nothing was changed")
		return
	}
	writeJSON(w, http.StatusOK, o.whole())
}

func (o ConfigOutcome) whole() ConfigOutcome {
	o.Changed, o.Warnings, o.Waiting = orEmpty(o.Changed), orEmpty(o.Warnings), orEmpty(o.Waiting)
	return o
}

func (s *Server) apiCheckConfig(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	c := ConfigChange{Text: b.document("config"), Files: b.files()}
	if b.refused(w) {
		return
	}
	o, err := s.opt.Source.TryConfig(c)
	if err != nil {
		s.configNotDone(w, err, "It could not be checked")
		return
	}
	writeJSON(w, http.StatusOK, o.whole())
}

func (s *Server) apiCheckList(w http.ResponseWriter, r *http.Request) {
	arrive(w, r)
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	csv := b.secret("csv")
	if b.refused(w) {
		return
	}
	o, err := s.opt.Source.TrySubscribers([]byte(csv))
	if err != nil {
		s.configNotDone(w, err, "It could not be checked")
		return
	}
	writeJSON(w, http.StatusOK, o)
}

func (s *Server) apiSetList(w http.ResponseWriter, r *http.Request) {
	arrive(w, r)
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	csv := b.secret("csv")
	if b.refused(w) {
		return
	}
	o, err := s.opt.Source.SetSubscribers([]byte(csv), actorOf(r).who)
	if err != nil {
		s.configNotDone(w, err, "The list stays as it is")
		return
	}
	writeJSON(w, http.StatusOK, o)
}

// passphraseHeader carries that of a locked backup, and passwordHeader that of who asks: the body is the backup, and addresses stand in logs.
const (
	passphraseHeader = "Mailweir-Passphrase"
	passwordHeader   = "Mailweir-Password"
)

func (s *Server) apiBackup(w http.ResponseWriter, r *http.Request) {
	passphrase := ""
	if r.ContentLength != 0 || actorOf(r).cookie != "" { // a token needs no body
		b, ok := bodyOf(w, r)
		if !ok {
			return
		}
		if _, there := b.members["passphrase"]; there {
			passphrase = b.secret("passphrase")
			if err := sealed.Check(passphrase); err != nil {
				b.wrong("passphrase", err.Error())
			}
		}
		b.asked = append(b.asked, "passphrase")
		if !s.surelyToo(w, r, b) {
			return
		}
	}
	file, kind, err := s.backupOf(actorOf(r).who, passphrase)
	if err != nil {
		s.configNotDone(w, err, "No backup was made")
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Write(file)
}

// backupOf is a backup, locked unless the passphrase is empty, and its media type.
func (s *Server) backupOf(who, passphrase string) (file []byte, kind string, err error) {
	file, err = s.opt.Source.Backup(who)
	if err != nil || passphrase == "" {
		return file, "application/zip", err
	}
	s.sealing.Lock()
	defer s.sealing.Unlock()
	file, err = sealed.Seal(file, passphrase)
	return file, "application/octet-stream", err
}

// opened is a backup as it was before it was locked, if it was.
func (s *Server) opened(file []byte, passphrase string) ([]byte, error) {
	if !sealed.Is(file) {
		return file, nil
	}
	s.sealing.Lock()
	defer s.sealing.Unlock()
	return sealed.Open(file, passphrase)
}

func (s *Server) apiRestore(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	dry := in.yes("dry_run")
	if in.refused(w) {
		return
	}
	arrive(w, r)
	file, err := io.ReadAll(r.Body)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		problem(w, http.StatusRequestEntityTooLarge, "The body is too large", "At most "+size(large.Limit)+".")
		return
	}
	if err != nil {
		problem(w, http.StatusBadRequest, "The file did not arrive", "Nothing was changed.")
		return
	}
	if file, err = s.opened(file, r.Header.Get(passphraseHeader)); err != nil {
		problem(w, http.StatusBadRequest, "The backup is locked", "The header "+passphraseHeader+": "+err.Error()+". Nothing was changed.")
		return
	}
	sure := actorOf(r).cookie == ""
	if now := r.Header.Get(passwordHeader); now != "" && !sure {
		if !s.passwordWas(w, r, now) {
			return
		}
		sure = true
	}
	o, err := s.box.Restore(file, dry, sure, actorOf(r).who)
	if err != nil {
		s.configNotDone(w, err, "Nothing was restored")
		return
	}
	o.Config, o.Files = o.Config.whole(), orEmpty(o.Files)
	writeJSON(w, http.StatusOK, o)
}

func (s *Server) apiRestart(w http.ResponseWriter, r *http.Request) {
	s.opt.Source.Restart(actorOf(r).who)
	writeJSON(w, http.StatusOK, restartAnswer{true})
}
