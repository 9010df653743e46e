package webadmin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/mailweir/mailweir/appliance/durable"
)

// maxListBytes is the longest list that can be uploaded where little memory is, and mostListBytes where there is enough: a million lines of an id, a plan, two prefixes and a name.
const (
	maxListBytes  = 16 << 20
	mostListBytes = 64 << 20
)

// LongestList is how many bytes a list of subscribers may have that is uploaded.
func (o *Options) LongestList() int64 { return min(max(o.ListBytes, maxListBytes), mostListBytes) }

// tooLong says what to do with a list that is.
func (s *Server) tooLong() string {
	text := "At most " + size(s.opt.LongestList()) + " on this machine, by its memory. Leave out the columns that nothing needs (note, name, circuits)"
	if !s.box.FromImage() {
		text += ", or copy it to the box, in the place of the file that identity.subscribers_file names; it is read at once"
	}
	return text + ". The list that is in force stays."
}

// listForm shows the list of subscribers there is, and one that somebody brought, before it is taken.
type listForm struct {
	Now     string // how many there are
	File    string
	Draft   bool
	Shown   string // names the draft
	Count   string
	Plans   []string // "residential: 1,204"
	Rows    []badRow
	More    string
	Wrong   string // how many lines are wrong
	Warns   []string
	CanTake bool
	Text    string // of a short draft, to be mended here
}

// badRow is a line of a list with what is wrong with it.
type badRow struct {
	Line          int
	Text, Message string
}

// Of a draft that is wrong so many lines are shown, and a draft of so many bytes can be mended on the page.
const (
	shownBadRows  = 100
	mendableBytes = 8 << 10
)

func (s *Server) showList(v *wizardView, _ Configuration, now values) {
	f := &listForm{File: inert(now.Identity.File)}
	v.List = f
	csv, there, err := s.draft()
	if err != nil {
		s.opt.Log.Error("web admin: read the draft of a list", "err", err)
	}
	o, err := s.opt.Source.TrySubscribers(csv)
	if err != nil {
		s.opt.Log.Error("web admin: read the draft of a list", "err", err)
		return
	}
	f.Now = count(o.Now, "subscriber", "subscribers")
	if !there {
		return
	}
	f.Shown = draftName(csv)
	f.Draft, f.CanTake, f.Count = true, len(o.Problems) == 0, count(o.Subscribers, "subscriber", "subscribers")
	for _, plan := range slices.Sorted(maps.Keys(o.Plans)) {
		f.Plans = append(f.Plans, inert(plan)+": "+number(o.Plans[plan]))
	}
	for _, w := range o.Warnings {
		f.Warns = append(f.Warns, inert(w))
	}
	lines := bytes.Split(csv, []byte("\n"))
	for _, p := range o.Problems[:min(len(o.Problems), shownBadRows)] {
		row := badRow{Line: p.Line, Message: inert(p.Message)}
		if p.Line > 0 && p.Line <= len(lines) {
			row.Text = inert(string(bytes.TrimRight(lines[p.Line-1], "\r")))
		}
		f.Rows = append(f.Rows, row)
	}
	if all := len(o.Problems) + o.More; all > 0 {
		f.Wrong = count(all, "thing is wrong", "things are wrong")
		if all > len(f.Rows) {
			f.More = count(all-len(f.Rows), "more is not shown", "more are not shown")
		}
	}
	if len(csv) <= mendableBytes && strings.ToValidUTF8(string(csv), "") == string(csv) {
		f.Text = string(csv)
	}
}

// takeList takes a list for a draft, or the draft for the list, or throws it away.
func (s *Server) takeList(t *wizardTry) {
	body := arrive(t.w, t.r)
	if err := t.r.ParseMultipartForm(s.opt.LongestList()); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		body.rest()
		if errors.As(err, new(*http.MaxBytesError)) {
			s.refuse(t.w, t.r, http.StatusRequestEntityTooLarge, "The list is too long", s.tooLong())
		} else {
			s.refuse(t.w, t.r, http.StatusBadRequest, "The list did not arrive", "Nothing was changed. Send it again.")
		}
		t.answered = true
		return
	}
	switch t.r.PostFormValue("do") {
	case "take":
		if csv, ok := s.draftShown(t); ok {
			s.takeDraft(t, csv)
		}
	case "discard":
		t.stay = true
		if _, ok := s.draftShown(t); ok {
			t.err = os.Remove(s.draftPath())
		}
	case "preview":
		t.stay = true
		csv := []byte(t.r.PostFormValue("text"))
		if file, head, err := t.r.FormFile("file"); err == nil {
			uploaded := make([]byte, head.Size) // as long as it is, and no longer: it may be much
			_, readErr := io.ReadFull(file, uploaded)
			if t.err = errors.Join(readErr, file.Close(), t.r.MultipartForm.RemoveAll()); t.err != nil {
				return
			}
			if len(uploaded) > 0 {
				csv = uploaded
			}
		}
		if len(bytes.TrimSpace(csv)) == 0 {
			t.wrong("text", "List", "choose a file, or paste the lines")
			return
		}
		t.err = durable.Replace(s.draftPath(), bytes.ReplaceAll(csv, []byte("\r\n"), []byte("\n")))
	} // anything else: the list stays as it is
}

// draftName tells a draft from others.
func draftName(csv []byte) string {
	sum := sha256.Sum256(csv)
	return hex.EncodeToString(sum[:])
}

// draftShown is the draft over which the button stood. There is one draft, and several admins: it may be gone, or another one by now.
func (s *Server) draftShown(t *wizardTry) (csv []byte, ok bool) {
	csv, there, err := s.draft()
	switch {
	case err != nil:
		t.err = err
	case !there:
		t.wrong("text", "List", "the one that was looked at is not there any more: send it again")
	case t.r.PostFormValue("shown") != draftName(csv):
		t.wrong("text", "List", "another list was sent meanwhile, and is shown now: look at it, or send yours again")
	default:
		return csv, true
	}
	return nil, false
}

func (s *Server) takeDraft(t *wizardTry, csv []byte) {
	if t.now.Identity.File == "" {
		if _, t.err = s.opt.Source.SetConfig(ConfigChange{Keys: []ConfigKey{takeOut("identity.subscribers_file")}}, actorOf(t.r).who); t.err != nil {
			return
		}
	}
	if _, t.err = s.opt.Source.SetSubscribers(csv, actorOf(t.r).who); t.err == nil {
		t.err = os.Remove(s.draftPath())
	}
}
