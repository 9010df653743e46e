package webadmin

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// targetsView answers: who is told what this box sees and does?
type targetsView struct {
	Revision   string
	Waiting    []string
	Errors     []formError
	Open       string // the form that stays open: collector, webhook, mail
	Collectors collectorsForm
	Webhooks   []webhookView
	Hook       hookForm
	Mail       mailForm
	Notices    []testedView // what each target said to a test
	Tested     bool
	Admin      string // who asks, whose password is asked for
}

// collectorsForm is the list of collectors, and the form for another one.
type collectorsForm struct {
	Targets                   []collectorView
	Transport, Host, Port, CA string
	Results                   []testedView
	Errors                    []formError
	Ask                       string // whose password is asked for; empty: nobody's
}

type collectorView struct {
	Index              int
	URL, Error, Behind string
	Up, Untried        bool
}

type webhookView struct {
	Index         int
	Name, URL, Of string
	Error         string
	Up, Untried   bool
}

type hookForm struct {
	Name, URL string
	Of        []subjectChoice
}

type subjectChoice struct {
	Subject, Text string
	Chosen        bool
}

type mailForm struct {
	Smarthost, TLS, User, From, To string
	HasPassword                    bool
	Of                             []subjectChoice
}

var subjectTexts = []struct{ subject, text string }{
	{"stages", "subscribers that are deferred or cut, and let go"}, {"clusters", "clusters: the same rare client on many lines"}, {"health", "the box's own health"},
}

func subjects(chosen []string) (all []subjectChoice) {
	for _, s := range subjectTexts {
		all = append(all, subjectChoice{s.subject, s.text, slices.Contains(chosen, s.subject)})
	}
	return all
}

// collectors are those of the file, with how they stand.
func (s *Server) collectors(now values) (all []collectorView) {
	standing := map[string]Syslog{}
	for _, t := range s.opt.Source.Status().Syslog {
		standing[t.URL] = t
	}
	for i, t := range now.Syslog.Targets {
		v := collectorView{Index: i, URL: inert(t.URL), Untried: true}
		if st, ok := standing[t.URL]; ok {
			v.Up, v.Untried = st.Up, st.untried()
			if !v.Up && !v.Untried {
				v.Error = inert(st.LastError)
			}
			v.Behind = number(st.Behind)
		}
		all = append(all, v)
	}
	return all
}

// collectorChange reads the form for a collector: do=add with its fields, or do=remove with its place.
func collectorChange(r *http.Request, now values) (f *collectorsForm, keys []ConfigKey, files []ConfigFile, of keyLabels) {
	f = &collectorsForm{Transport: r.PostFormValue("transport"), Host: strings.TrimSpace(r.PostFormValue("host")), Port: strings.TrimSpace(r.PostFormValue("port")), CA: strings.TrimSpace(r.PostFormValue("ca"))}
	n := len(now.Syslog.Targets)
	at := fmt.Sprintf("syslog.targets[%d]", n)
	of = keyLabels{{at + ".ca_file", "ca", "Certificate"}, {"syslog", "host", "Collector"}}
	switch r.PostFormValue("do") {
	case "add":
		if f.Host == "" {
			f.Errors = append(f.Errors, formError{"host", "Host", "is missing"})
			return
		}
		host := f.Host
		if f.Port != "" {
			host = net.JoinHostPort(f.Host, f.Port)
		} else if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		keys = []ConfigKey{set(at, map[string]string{"url": f.Transport + "://" + host})}
		if f.CA != "" {
			files = []ConfigFile{{at + ".ca_file", "collector-ca", []byte(f.CA + "\n")}}
		}
	case "remove":
		i, err := strconv.Atoi(r.PostFormValue("index"))
		if err != nil || i < 0 || i >= n || now.Syslog.Targets[i].URL != r.PostFormValue("url") {
			f.Errors = append(f.Errors, formError{"", "Collector", "this one is not there any more"})
			return
		}
		keys = []ConfigKey{takeOut(fmt.Sprintf("syslog.targets[%d]", i))}
	}
	return
}

func (s *Server) targetsPage(w http.ResponseWriter, r *http.Request) {
	s.showTargets(w, r, http.StatusOK, targetsView{})
}

// showTargets fills what v does not have: of a form that stays open, what was typed stays.
func (s *Server) showTargets(w http.ResponseWriter, r *http.Request, status int, v targetsView) {
	c, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	v.Revision, v.Waiting, v.Admin = c.Revision, c.Waiting, actorOf(r).name
	v.Collectors.Targets = s.collectors(now)
	if v.Collectors.Transport == "" {
		v.Collectors.Transport = "udp"
	}
	standing := map[string]NoticeTarget{}
	for _, t := range s.opt.Source.Status().Notices {
		standing[t.Name] = t
	}
	for i, h := range now.Notices.Webhooks {
		st, known := standing[h.Name]
		one := webhookView{Index: i, Name: inert(h.Name), URL: inert(h.URL), Of: strings.Join(h.Of, ", "), Up: st.Up, Untried: !known}
		if !st.Up {
			one.Error = inert(st.LastError)
		}
		v.Webhooks = append(v.Webhooks, one)
	}
	if v.Open != "webhook" {
		v.Hook.Of = subjects([]string{"stages", "clusters", "health"})
	}
	if m := now.Notices.Mail; v.Open != "mail" {
		v.Mail = mailForm{m.Smarthost, m.TLS, m.User, m.From, strings.Join(m.To, ", "), m.Password != "", subjects(m.Of)}
	} else {
		v.Mail.HasPassword = m.Password != ""
	}
	s.render(w, r, status, "targets", frame{Title: "Records and notices", Here: "/settings"}, v)
}

// setTargets makes a change on this page and leads back to it, or shows what is wrong. By what adds or changes a target records or notices go elsewhere: that asks for the password
// again, in the form that v has open, since who finds a browser open must not send away what the box sees. What takes one out has none open.
func (s *Server) setTargets(w http.ResponseWriter, r *http.Request, v targetsView, c ConfigChange, of keyLabels) (done bool) {
	if len(v.Errors) == 0 {
		if v.Open != "" {
			if !s.passwordAgain(w, r, func() {
				v.Errors = []formError{{"now-" + v.Open, yourPassword, wrongNow}}
				s.showTargets(w, r, http.StatusBadRequest, v)
			}) {
				return false
			}
			c.Sure = true
		}
		c.Revision = r.PostFormValue("revision")
		_, err := s.opt.Source.SetConfig(c, actorOf(r).who)
		if err == nil {
			return true
		}
		wrong, known := whatWasWrong(err, of)
		if !known {
			s.broken(w, r, err, "Nothing was changed")
			return false
		}
		v.Errors = wrong
	}
	s.showTargets(w, r, http.StatusBadRequest, v)
	return false
}

func (s *Server) setCollectors(w http.ResponseWriter, r *http.Request) {
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	f, keys, files, of := collectorChange(r, now)
	v := targetsView{Collectors: *f, Errors: f.Errors}
	if r.PostFormValue("do") == "add" {
		v.Open = "collector"
	}
	if len(keys) == 0 && len(v.Errors) == 0 {
		v.Errors = []formError{{"", "", "This page has no such button."}}
	}
	if s.setTargets(w, r, v, ConfigChange{Keys: keys, Files: files}, of) {
		http.Redirect(w, r, "/settings/targets", http.StatusSeeOther)
	}
}

func (s *Server) testCollectors(w http.ResponseWriter, r *http.Request) {
	s.showTargets(w, r, http.StatusOK, targetsView{Collectors: collectorsForm{Results: s.tested(r)}})
}

func (s *Server) testNoticesPage(w http.ResponseWriter, r *http.Request) {
	v := targetsView{Tested: true}
	for _, one := range s.testNotices(r) {
		v.Notices = append(v.Notices, testedView{inert(one.Target), inert(one.Error), one.OK})
	}
	s.showTargets(w, r, http.StatusOK, v)
}

// secretBytes is the length of a webhook's secret (Standard Webhooks: 24 to 64).
const secretBytes = 32

func (s *Server) addWebhook(w http.ResponseWriter, r *http.Request) {
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	name, to := strings.TrimSpace(r.PostFormValue("name")), strings.TrimSpace(r.PostFormValue("url"))
	of := orEmpty(r.PostForm["of"])
	at := fmt.Sprintf("notices.webhooks[%d]", len(now.Notices.Webhooks))
	v := targetsView{Open: "webhook", Hook: hookForm{inert(name), inert(to), subjects(of)}}
	var random [secretBytes]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	secret := "whsec_" + base64.StdEncoding.EncodeToString(random[:])
	c := ConfigChange{Keys: []ConfigKey{set(at, map[string]any{"name": name, "url": to, "of": of})}, Files: []ConfigFile{{at + ".secret_file", "webhook", []byte(secret + "\n")}}}
	if s.setTargets(w, r, v, c, keyLabels{{at + ".name", "hook-name", "Name"}, {at + ".url", "hook-url", "Address"}, {"notices", "hook-name", "Webhook"}}) {
		s.render(w, r, http.StatusOK, "given", frame{Title: "Secret for " + inert(name), Here: "/settings"}, givenView{What: "Secret for " + inert(name), Secret: secret,
			Means: "Whoever receives the notices checks their signature with it (Standard Webhooks). It is shown now and never again.", Next: "/settings/targets", NextText: "I have kept it: go on"})
	}
}

func (s *Server) dropWebhook(w http.ResponseWriter, r *http.Request) {
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	v := targetsView{}
	name := r.PostFormValue("name")
	i := -1
	for at, h := range now.Notices.Webhooks {
		if h.Name == name {
			i = at
		}
	}
	if i < 0 {
		v.Errors = []formError{{"", "Webhook", "this one is not there any more"}}
	}
	if s.setTargets(w, r, v, ConfigChange{Keys: []ConfigKey{takeOut(fmt.Sprintf("notices.webhooks[%d]", i))}}, nil) {
		http.Redirect(w, r, "/settings/targets", http.StatusSeeOther)
	}
}

func (s *Server) setMail(w http.ResponseWriter, r *http.Request) {
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	get := func(name string) string { return strings.TrimSpace(r.PostFormValue(name)) }
	m := mailForm{Smarthost: get("smarthost"), TLS: get("tls"), User: get("user"), From: get("from"), To: get("to"), Of: subjects(r.PostForm["of"])}
	to := splitWords(m.To)
	const at = "notices.mail."
	var c ConfigChange
	add := func(key string, differs bool, value any) {
		if differs {
			c.Keys = append(c.Keys, set(at+key, value))
		}
	}
	was := now.Notices.Mail
	add("smarthost", m.Smarthost != was.Smarthost, m.Smarthost)
	add("tls", m.TLS != was.TLS, m.TLS)
	add("user", m.User != was.User, m.User)
	add("from", m.From != was.From, m.From)
	add("to", !slices.Equal(to, was.To), to)
	of := orEmpty(r.PostForm["of"])
	add("of", !slices.Equal(of, was.Of), of)
	switch password := r.PostFormValue("password"); {
	case m.User == "" && was.Password != "":
		c.Keys = append(c.Keys, takeOut(at+"password_file"))
	case m.User != "" && password != "":
		c.Files = []ConfigFile{{at + "password_file", "smarthost-password", []byte(password + "\n")}}
	}
	v := targetsView{Open: "mail", Mail: m}
	if m.Smarthost == "" {
		v.Mail, v.Open = mailForm{}, "" // nothing is sent any more
	}
	of2 := keyLabels{{at + "smarthost", "smarthost", "Mail server"}, {at + "tls", "tls", "TLS"}, {at + "user", "user", "User"}, {at + "password_file", "password", "Password"},
		{at + "from", "from", "From"}, {at + "to", "to", "To"}, {"notices.mail", "smarthost", "E-mail"}}
	if len(c.Keys)+len(c.Files) == 0 || s.setTargets(w, r, v, c, of2) {
		http.Redirect(w, r, "/settings/targets", http.StatusSeeOther)
	}
}
