package webadmin

import (
	"net/http"
	"slices"
	"time"

	"github.com/mailweir/mailweir/web-admin/sentences"
)

// languageView answers: in which words do we talk to a customer?
type languageView struct {
	Revision  string
	Waiting   []string
	Errors    []formError
	Languages []languageChoice
	Own       bool   // the texts are from a file of the operator's
	Lang, Dir string // of what is in force
	Name      string // what that language calls itself
	Sample    []string
}

type languageChoice struct {
	Value, Name string
	Chosen      bool
}

// languageNames are what the languages that the program brings call themselves.
var languageNames = map[string]string{"en": "English", "de": "Deutsch"}

// samples are lines of which the page shows what would be said.
func samples(now time.Time) []Subscriber {
	over := Budget{Of: "tls_handshakes", Window: Seconds(time.Hour), Limit: 20, Burst: 20, Value: 412, Ratio: 20.6}
	return []Subscriber{
		{Stage: "defer", Since: At(now.Add(-10 * time.Hour)), Until: At(now.Add(50 * time.Minute)), Case: "K7Q2X", Budgets: []Budget{over}},
		{Stage: "observe", Decisions: []Decision{{At: At(now.Add(-26 * time.Hour)), Action: "pace", Acted: true, Of: "messages", Window: Seconds(time.Hour), Limit: 60, Burst: 60, Value: 49}}},
	}
}

func (s *Server) languagePage(w http.ResponseWriter, r *http.Request) {
	s.showLanguage(w, r, http.StatusOK, nil)
}

func (s *Server) showLanguage(w http.ResponseWriter, r *http.Request, status int, wrong []formError) {
	c, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	in := s.sentences.Load()
	v := languageView{Revision: c.Revision, Waiting: c.Waiting, Errors: wrong, Own: now.Admin.Sentences != "", Lang: in.Lang(), Dir: in.Dir(), Name: languageNames[in.Lang()]}
	for _, lang := range sentences.Languages {
		v.Languages = append(v.Languages, languageChoice{lang, languageNames[lang], lang == now.Admin.Language && !v.Own})
	}
	for _, sub := range samples(s.opt.Now()) {
		v.Sample = append(v.Sample, sentence(in, sub, Status{Mode: "enforce", Ports: []int{25}}, s.opt.Now(), s.opt.Location))
	}
	s.render(w, r, status, "language", frame{Title: "Language", Here: "/settings"}, v)
}

// setLanguage takes one of the languages that there are, or a file of the operator's.
func (s *Server) setLanguage(w http.ResponseWriter, r *http.Request) {
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	const key = "admin.sentences_file"
	var c ConfigChange
	switch r.PostFormValue("do") {
	case "choose":
		lang := r.PostFormValue("language")
		if !slices.Contains(sentences.Languages, lang) {
			s.showLanguage(w, r, http.StatusBadRequest, []formError{{"language", "Language", "choose one"}})
			return
		}
		c.Keys = []ConfigKey{set("admin.language", lang)}
		if now.Admin.Sentences != "" {
			c.Keys = append(c.Keys, takeOut(key))
		}
	case "take":
		file, err := sentFile(r, "file")
		if err != nil || len(file) > sentences.MaxFile {
			s.showLanguage(w, r, http.StatusBadRequest, []formError{{"file", "File", "choose one of at most " + size(sentences.MaxFile)}})
			return
		}
		c.Files = []ConfigFile{{key, "sentences", file}}
	default:
		s.showLanguage(w, r, http.StatusBadRequest, []formError{{"", "", "This page has no such button."}})
		return
	}
	c.Revision = r.PostFormValue("revision")
	if _, err := s.opt.Source.SetConfig(c, actorOf(r).who); err != nil {
		wrong, known := inFile(err)
		if !known {
			s.broken(w, r, err, "Nothing was changed")
			return
		}
		s.showLanguage(w, r, http.StatusBadRequest, wrong)
		return
	}
	http.Redirect(w, r, "/settings/language", http.StatusSeeOther)
}

// UseSentences has callers told what s says from now on.
func (s *Server) UseSentences(to *sentences.Set) { s.sentences.Store(to) }

// apiSentences gives the file with what callers are told: one that the program brings, or that in force.
func (s *Server) apiSentences(w http.ResponseWriter, r *http.Request) {
	lang := r.URL.Query().Get("language")
	file := s.sentences.Load().File()
	if lang != "" {
		file = sentences.File(lang)
	}
	if file == nil {
		problem(w, http.StatusNotFound, "No such language", "The program brings en and de.")
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("Content-Disposition", `attachment; filename="sentences.yaml"`)
	w.Write(file)
}
