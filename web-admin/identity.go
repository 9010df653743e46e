package webadmin

import (
	"fmt"
	"slices"
	"strings"
)

// Identifier tells of those who say whose an address is.
type Identifier interface {
	// Sources is how they stand.
	Sources() Sources
}

// Sources are those who say whose an address is: GET /api/v1/sources.
type Sources struct {
	List        ListSource    `json:"list"`
	RADIUS      *RADIUSSource `json:"radius"` // nil: accounting is not listened to
	Leases      []LeaseSource `json:"lease_files"`
	Bindings    BindingCounts `json:"bindings"`
	UsualLeases []LeaseFile   `json:"usual_lease_files"` // that can be added without being root on the box
}

// ListSource is the list of subscribers.
type ListSource struct {
	File        string `json:"file"` // empty: there is none
	Subscribers int    `json:"subscribers"`
	Refused     string `json:"refused"` // why the file as it is now was not taken, and the one before holds
}

// RADIUSSource is what became of RADIUS accounting since the start.
type RADIUSSource struct {
	Last      Time             `json:"last"`  // heard of an access server
	Taken     int64            `json:"taken"` // requests that said something about an address
	NotWanted int64            `json:"not_wanted"`
	Failed    int64            `json:"failed"`
	Repeated  int64            `json:"repeated"`
	Lost      int64            `json:"lost"`     // that came faster than they were read
	Ignored   map[string]int64 `json:"ignored"`  // by reason
	Unlisted  int              `json:"unlisted"` // lines that it names and the list lacks
}

// LeaseSource is the file of a DHCP server.
type LeaseSource struct {
	Path     string `json:"path"`
	Format   string `json:"format"`
	Read     Time   `json:"read"` // last; zero: never
	Leases   int    `json:"leases"`
	BadLines int    `json:"bad_lines"`
	FirstBad string `json:"first_bad"`
	Problem  string `json:"problem"` // why it may be out of date
}

// LeaseFile is a file that can be read for leases.
type LeaseFile struct {
	Path   string `json:"path"`
	Format string `json:"format"`
}

// BindingCounts are the addresses and prefixes that are bound now, by who says so.
type BindingCounts struct {
	RADIUS  int `json:"radius"`
	Leases  int `json:"leases"`
	API     int `json:"api"`
	Unknown int `json:"unknown"` // of all, those of nobody's line
}

func (v Sources) whole() Sources {
	v.Leases, v.UsualLeases = orEmpty(v.Leases), orEmpty(v.UsualLeases)
	return v
}

// radiusForm is what the configuration is to say of RADIUS. An empty Secret leaves the one there is.
type radiusForm struct {
	Listen  string
	Secret  string
	Clients []string
	Dated   bool
}

const radiusKey = "identity.radius."

// change has the configuration say what f does, where it does not yet. Without Listen nothing of RADIUS is left in it.
func (f radiusForm) change(was radiusValues) (c ConfigChange) {
	add := func(key string, differs bool, value any) {
		if differs {
			c.Keys = append(c.Keys, set(radiusKey+key, value))
		}
	}
	add("listen", f.Listen != was.Listen, f.Listen)
	if f.Listen == "" {
		if was.SecretFile != "" {
			c.Keys = append(c.Keys, takeOut(radiusKey+"secret_file"))
		}
		f.Clients, f.Dated = []string{}, false
	} else if f.Secret != "" {
		c.Files = []ConfigFile{{radiusKey + "secret_file", "radius-secret", []byte(f.Secret + "\n")}}
	}
	add("clients", !slices.Equal(f.Clients, was.Clients), f.Clients)
	add("require_timestamp", f.Dated != was.Dated, f.Dated)
	return c
}

// leaseChange adds one of the usual lease files; false: it is none of them.
func leaseChange(add string, usual []LeaseFile, now []LeaseFile) (ConfigChange, bool) {
	for _, u := range usual {
		if u.Path == add {
			return ConfigChange{Keys: []ConfigKey{set(fmt.Sprintf("identity.lease_files[%d]", len(now)), u)}}, true
		}
	}
	return ConfigChange{}, false
}

// splitWords separates what a form has with commas or blanks between.
func splitWords(text string) []string {
	return orEmpty(strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == ';' }))
}
