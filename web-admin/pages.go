package webadmin

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

//go:embed templates static
var files embed.FS

// frame is what every page has around it. Handlers set Title, Here and Live; render fills the rest.
type frame struct {
	Title string // the question's subject; also the heading
	Here  string // the navigation entry that is the current one
	Live  bool   // the page asks for itself again each second where there is JavaScript

	LoggedIn bool
	User     string
	Operates bool        // role operator and above: what acts is shown
	Manages  bool        // role admin
	Network  bool        // who manages sees the network settings: they are the box's to give
	Image    bool        // and updates: the box runs the image
	Console  bool        // the box runs the image: it has a console with a menu, and no shell
	Closed   bool        // network.on_failure is closed
	Tried    *triedPorts // ports that nobody has confirmed yet; nil: there are none
	Search   string
	Mode     modeView
	Health   healthView
	Box      string
	Version  string
	At       moment // when the page was made
	Day      string // of that, for paper: a page says its times of today without
	Zone     string // of the times on it: "CET, UTC+01:00"
	Page     any
}

// modeView is the banner: what the box does with its decisions.
type modeView struct {
	Stopped string // "SAFE MODE", "BYPASS": the box governs nothing; empty: it does
	Enforce bool
	Since   moment
	Line    string // "would have acted on 14 of 2,314 decisions · acted on 0"
}

// tabsView is the row of tabs on the pages of settings; what the machine lacks is not among them.
type tabsView struct {
	Here                    string
	Network, Image, Stopped bool
}

// waitsView are the keys that wait for a restart, and what mail does during that.
type waitsView struct {
	Keys   []waitingKey
	Closed bool // network.on_failure is closed
	Ports  bool // the box's ports change over
}

// waitingKey is a key that waits, in the words of the pages.
type waitingKey struct {
	Words string
	Key   string // empty: that is all there is to say of it
}

func waitingKeys(keys []string) (all []waitingKey) {
	for _, key := range keys {
		w := waitingKey{KeyText(key, nil), inert(key)}
		if w.Words == w.Key {
			w.Key = ""
		}
		all = append(all, w)
	}
	return all
}

// changesPorts tells of a key that waits whether the ports between subscribers and internet change with it, where they are the box's.
func changesPorts(key string) bool {
	return slices.Contains([]string{"network.topology", "network.addresses", "network.routes"}, key)
}

// againView is a field for the password of who asks: one form of a page has one.
type againView struct{ ID, Admin string }

// healthView is the light at the top.
type healthView struct {
	OK   bool
	Text string // "healthy", "2 problems"
}

// parsePages parses every page once, at the start.
func parsePages(assets map[string]asset) (map[string]*template.Template, error) {
	funcs := template.FuncMap{
		"asset": func(name string) (string, error) {
			a, ok := assets[name]
			if !ok {
				return "", fmt.Errorf("no asset %q", name)
			}
			return "/static/" + name + "?v=" + a.version, nil
		},
		"shape":   shape,
		"capital": capital,
		"tabs":    func(here string, f frame) tabsView { return tabsView{here, f.Network, f.Image, f.Mode.Stopped != ""} },
		"waits": func(keys []string, f frame) waitsView {
			return waitsView{waitingKeys(keys), f.Closed, f.Image && slices.ContainsFunc(keys, changesPorts)}
		},
		"again": func(form, admin string) againView { return againView{strings.TrimSuffix("now-"+form, "-"), admin} },
		"past":  func(stage string) string { return past[stage] },
	}
	names, err := files.ReadDir("templates/pages")
	if err != nil {
		return nil, err
	}
	pages := map[string]*template.Template{}
	for _, n := range names {
		t, err := template.New("layout.html").Funcs(funcs).ParseFS(files, "templates/layout.html", "templates/parts.html", "templates/pages/"+n.Name())
		if err != nil {
			return nil, fmt.Errorf("web admin: %w", err)
		}
		pages[strings.TrimSuffix(n.Name(), ".html")] = t
	}
	return pages, nil
}

// shapes are the stages' shapes and those of good and bad health, so that none of them is told by colour alone.
var shapes = map[string]template.HTML{
	"observe": `<circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="2"/>`,
	"warn":    `<path d="M8 2.2 14.6 14H1.4Z" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round"/>`,
	"pace":    `<path d="M3 2.5h3.5v11H3zM9.5 2.5H13v11H9.5z" fill="currentColor"/>`,
	"defer":   `<path d="M8 .8 15.2 8 8 15.2.8 8Z" fill="currentColor"/>`,
	"cut":     `<path d="m3 3 10 10M13 3 3 13" fill="none" stroke="currentColor" stroke-width="3"/>`,
	"pass":    `<path d="M2 8h10M8.5 4 12.5 8l-4 4" fill="none" stroke="currentColor" stroke-width="2"/>`,
	"good":    `<circle cx="8" cy="8" r="6" fill="currentColor"/>`,
	"bad":     `<path d="M8 .8 15.6 15H.4Z" fill="currentColor"/>`,
}

// shape draws one of shapes; an unknown word gets none, and stays a word.
func shape(word string) template.HTML {
	inside, ok := shapes[word]
	if !ok {
		return ""
	}
	return `<svg class="shape" viewBox="0 0 16 16" width="12" height="12" aria-hidden="true">` + inside + `</svg>`
}

// render fills f, executes the page into a buffer and writes it then, so that a page is whole or an error.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, f frame, page any) {
	now := s.opt.Now()
	z := zone{now, s.opt.Location}
	f.Page = page
	f.At, f.Day, f.Zone = z.second(now), now.In(z.loc).Format(time.DateOnly), z.name()
	a, ok := s.person(r, false)
	f.Console = s.box.FromImage()
	if f.LoggedIn = ok && a.at == inside; f.LoggedIn {
		f.User, f.Operates, f.Manages = a.name, a.role.May(users.Operator), a.role.May(users.Admin)
		var st Status
		if stopped := s.opt.Recovery; stopped != nil {
			st = stopped.Status()
			f.Mode, f.Health = stoppedMode(stopped.Standstill(), z)
		} else {
			st = s.seeAs(a.role).Status()
			f.Mode, f.Health = modeOf(st, z), healthOf(problemsOf(st))
			f.Closed = st.FailClosed
			if n := s.opt.Source.Network(); n != nil {
				f.Network, f.Tried = f.Manages, triedPortsOf(n.Ports, zone{s.opt.Now(), s.opt.Location})
			}
		}
		f.Image = f.Manages && f.Console
		f.Box, f.Version = inert(st.Box), inert(st.Version)
	}
	var out bytes.Buffer
	if err := s.pages[name].Execute(&out, f); err != nil {
		s.opt.Log.Error("web admin: page", "page", name, "err", err)
		http.Error(w, "This page broke. Mail is not affected. The details are in "+logPlace(f.Console)+".", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if packed[name] {
		w.Header().Set("Vary", "Accept-Encoding")
	}
	if !packed[name] || !takesGzip(r) {
		w.WriteHeader(status)
		w.Write(out.Bytes())
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	pack := packers.Get().(*gzip.Writer)
	defer packers.Put(pack)
	pack.Reset(w)
	pack.Write(out.Bytes())
	pack.Close()
}

// packed are the pages that go over the wire packed: long ones, and those that a browser asks for each second. None of them holds a secret of ours
// beside what the address says, which the length of what was packed could tell to who sees it on the way (BREACH).
var packed = map[string]bool{"overview": true, "subscribers": true, "subscriber": true, "records": true, "record": true, "unmapped": true, "destinations": true, "clusters": true, "cluster": true}

// packers are kept: each has more memory than a page.
var packers = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic("webadmin: " + err.Error()) // there is such a level
	}
	return w
}}

// takesGzip tells whether an answer may be packed (RFC 9110 section 12.5.3).
func takesGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, weight, weighed := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.ReplaceAll(weight, " ", ""), "q="), 64)
			return !weighed || err == nil && q > 0
		}
	}
	return false
}

func modeOf(st Status, z zone) modeView {
	a := st.Actions
	decided := a.Passed + a.Paced + a.Deferred + a.Cut
	m := modeView{Enforce: st.Mode == "enforce", Since: z.lasting(st.Since.Time)}
	if st.unmeasured() {
		m.Since, m.Line = moment{}, "nothing is judged yet"
	} else if m.Enforce {
		m.Line = fmt.Sprintf("acted on %s of %s", number(st.Acted), count(decided, "decision", "decisions"))
	} else {
		m.Line = fmt.Sprintf("acted %s · would have acted on %s of %s", number(st.Acted), number(st.WouldHaveActed), count(decided, "decision", "decisions"))
	}
	return m
}

// healthOf is the light at the top: whether the box itself is well. What subscribers' lines do is to be looked at, and no illness of the box.
func healthOf(problems []Problem) healthView {
	ill := 0
	for _, p := range problems {
		if !p.Lines {
			ill++
		}
	}
	if ill == 0 {
		return healthView{OK: true, Text: "healthy"}
	}
	return healthView{Text: count(ill, "problem", "problems")}
}

// asset is one file of static/, served for ever under its version.
type asset struct {
	body    []byte
	kind    string
	version string
}

var assetKinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func loadAssets() (map[string]asset, error) {
	names, err := files.ReadDir("static")
	if err != nil {
		return nil, err
	}
	assets := map[string]asset{}
	for _, n := range names {
		body, err := files.ReadFile("static/" + n.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		assets[n.Name()] = asset{body, assetKinds[path.Ext(n.Name())], hex.EncodeToString(sum[:6])}
	}
	return assets, nil
}

// static serves an asset. Under its current version it may be kept for a year; under any other it is not kept at all.
func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	a, ok := s.assets[r.PathValue("file")]
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "There is nothing at this address", "The link may be old, or mistyped.")
		return
	}
	if r.URL.Query().Get("v") == a.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Type", a.kind)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}
