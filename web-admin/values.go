package webadmin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// values is the configuration as far as forms show it; keys and units are those of the file.
type values struct {
	Mode    string `json:"mode"`
	Network struct {
		Topology    string   `json:"topology"`
		Subscribers []string `json:"subscriber_interfaces"`
		Upstream    []string `json:"upstream_interfaces"`
		Limited     []int    `json:"limited_ports"`
		Counted     []int    `json:"counted_ports"`

		Addresses []PortAddress `json:"addresses"`
		Routes    []PortRoute   `json:"routes"`
	} `json:"network"`
	Identity struct {
		File     string       `json:"subscribers_file"`
		Unmapped string       `json:"unmapped_plan"`
		RADIUS   radiusValues `json:"radius"`
		Leases   []LeaseFile  `json:"lease_files"`
	} `json:"identity"`
	NTP struct {
		Servers []string `json:"servers"`
	} `json:"ntp"`
	Plans  []planValues `json:"plans"`
	Syslog struct {
		Targets []struct {
			URL    string `json:"url"`
			CAFile string `json:"ca_file"`
		} `json:"targets"`
	} `json:"syslog"`
	Notices struct {
		Webhooks []struct {
			Name string   `json:"name"`
			URL  string   `json:"url"`
			Of   []string `json:"of"`
		} `json:"webhooks"`
		Mail mailValues `json:"mail"`
	} `json:"notices"`
	Clusters struct {
		KnownGood []string `json:"known_good"`
	} `json:"clusters"`
	Admin struct {
		Listen string `json:"listen"`
		TLS    struct {
			CertFile string `json:"cert_file"`
		} `json:"tls"`
		Language  string `json:"language"`
		Sentences string `json:"sentences_file"`
	} `json:"admin"`
}

type radiusValues struct {
	Listen     string   `json:"listen"`
	SecretFile string   `json:"secret_file"`
	Clients    []string `json:"clients"`
	Dated      bool     `json:"require_timestamp"`
}

type planValues struct {
	Name    string         `json:"name"`
	Preset  string         `json:"preset"`
	Highest string         `json:"highest_stage"`
	Budgets []budgetValues `json:"budgets"`
	Ladder  ladderValues   `json:"ladder"`
}

type budgetValues struct {
	Of    string `json:"of"`
	Limit int    `json:"limit"`
	Per   string `json:"per,omitempty"`
	Burst int    `json:"burst,omitempty"`
}

type ladderValues struct {
	WarnAt       int    `json:"warn_at"`
	PaceAt       int    `json:"pace_at"`
	PaceMax      string `json:"pace_max"`
	DeferAt      int    `json:"defer_at"`
	CutAt        int    `json:"cut_at"`
	CutFor       string `json:"cut_for"`
	ReleaseAfter string `json:"release_after"`
}

type mailValues struct {
	Smarthost string   `json:"smarthost"`
	TLS       string   `json:"tls"`
	User      string   `json:"user"`
	Password  string   `json:"password_file"`
	From      string   `json:"from"`
	To        []string `json:"to"`
	Of        []string `json:"of"`
}

// configured reads the configuration for a page. When the file cannot be used it answers, and returns false.
func (s *Server) configured(w http.ResponseWriter, r *http.Request) (c Configuration, v values, ok bool) {
	c, err := s.opt.Source.Config()
	var wrong WrongConfig
	switch {
	case errors.As(err, &wrong) && len(wrong) > 0:
		s.refuse(w, r, http.StatusConflict, "The configuration file has an error", fmt.Sprintf("Somebody changed it: line %d: %s: %s. What was in force before goes on. %s",
			wrong[0].Line, inert(wrong[0].Key), inert(wrong[0].Message), mendFile(s.box.FromImage())))
		return c, v, false
	case err != nil:
		s.broken(w, r, err, "The configuration cannot be read")
		return c, v, false
	}
	if err := json.Unmarshal(c.Values, &v); err != nil {
		s.broken(w, r, err, "The configuration cannot be shown")
		return c, v, false
	}
	return c, v, true
}

// mendFile says how a file is put right that this page cannot read: nobody edits one on the image, which has no shell.
func mendFile(image bool) string {
	if image {
		return "A backup that is put back mends it (Settings, Backup)."
	}
	return "mailweir check says all that is wrong with it; put it right on the box first."
}

// set is a key with a value.
func set(key string, value any) ConfigKey {
	raw, err := json.Marshal(value)
	if err != nil {
		panic("webadmin: " + err.Error()) // texts, numbers and lists of them always marshal
	}
	return ConfigKey{key, raw}
}

// takeOut is a key or an item of a list that goes.
func takeOut(key string) ConfigKey { return ConfigKey{Key: key} }

// keyLabels are which field of a form a key belongs to: the first prefix that fits.
type keyLabels []struct{ key, field, label string }

// whatWasWrong turns what is wrong with a change into the errors of a form; false: it is something else.
func whatWasWrong(err error, of keyLabels) ([]formError, bool) {
	var wrong WrongConfig
	var refused Refused
	switch {
	case errors.Is(err, ErrConfigChanged):
		return []formError{{"", "", "Somebody changed the configuration meanwhile. This page shows it as it is now; look, and try again."}}, true
	case errors.As(err, &refused):
		wrong = WrongConfig{{Key: refused.Field, Message: refused.Message}}
	case !errors.As(err, &wrong):
		return nil, false
	}
	var all []formError
	for _, p := range wrong {
		e := formError{"", inert(p.Key), inert(p.Message)}
		for _, l := range of {
			if strings.HasPrefix(p.Key, l.key) {
				e.Field, e.Label = l.field, l.label
				break
			}
		}
		if !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all, true
}

// inFile is whatWasWrong of a change that brings a file: each error has its line there.
func inFile(err error) ([]formError, bool) {
	var wrong WrongConfig
	if !errors.As(err, &wrong) {
		return whatWasWrong(err, nil)
	}
	var all []formError
	for _, p := range wrong {
		where := inert(p.Key)
		if p.Line > 0 {
			where = fmt.Sprintf("line %d, %s", p.Line, where)
		}
		all = append(all, formError{"file", strings.TrimSuffix(where, ", "), inert(p.Message)})
	}
	return all, true
}

// ports reads a list of ports; ok is false when it has something else in it.
func ports(text string) (all []int, ok bool) {
	all = []int{}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, false
		}
		all = append(all, n)
	}
	return all, true
}

func portsText(all []int) string {
	var words []string
	for _, p := range all {
		words = append(words, strconv.Itoa(p))
	}
	return strings.Join(words, ", ")
}
