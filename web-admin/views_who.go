package webadmin

// Binding says that a subscriber holds a prefix: in a [Subscriber], and GET /api/v1/bindings for those that the API made.
type Binding struct {
	Prefix     string `json:"prefix"`
	Subscriber string `json:"subscriber"`
	Source     string `json:"source"` // csv | lease | radius | api
	From       Time   `json:"from"`   // null: not known
	Until      Time   `json:"until"`  // null: still
}

// Lookup is who held an address at a time: GET /api/v1/lookup.
type Lookup struct {
	Address string   `json:"address"`
	At      Time     `json:"at"`
	Holders []Holder `json:"holders"` // best first; empty: nobody's line
	// Unmapped is the id under which sessions from this address are counted when it is nobody's; empty when somebody holds it.
	Unmapped string `json:"unmapped"`
}

// Holder is one who held an address, by the word of one source.
type Holder struct {
	Subscriber string `json:"subscriber"`
	Name       string `json:"name"`
	Plan       string `json:"plan"` // now
	Prefix     string `json:"prefix"`
	Source     string `json:"source"` // csv | lease | radius | api
	From       Time   `json:"from"`   // null: not known
	Until      Time   `json:"until"`  // null: still
}

// Unmapped is a source that is nobody's line, with what it did: GET /api/v1/unmapped.
type Unmapped struct {
	Address      string `json:"address"`    // one IPv4 address, or an IPv6 /64
	Subscriber   string `json:"subscriber"` // the id under which it is counted
	Stage        string `json:"stage"`
	First        Time   `json:"first_seen"`
	Last         Time   `json:"last_seen"`
	Sessions     int64  `json:"sessions"`
	Denied       int64  `json:"denied"` // of them, as decided
	Messages     int64  `json:"messages"`
	Destinations int    `json:"destinations"` // networks, about
	Clients      int    `json:"clients"`      // different TLS fingerprints
	Crowd        string `json:"crowd"`        // why it looks like many behind one address; empty: it does not
}

// Page selects a part of a list. The zero Page is the first one.
type Page struct {
	Limit  int    // 1..1000
	Cursor string // from the page before

	// Tie is that of [Query], where lines are listed.
	Tie    func(id string) uint64
	TieKey []byte
}
