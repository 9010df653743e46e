package webadmin

// History is what one subscriber did lately: GET /api/v1/subscribers/{id}/history. It is read from the records that the box has, the
// newest first, as far as one request may take; asked again, it goes on where it stopped.
type History struct {
	Subscriber string         `json:"subscriber"`
	Step       Seconds        `json:"step_s"`
	From       Time           `json:"from"`  // when the first step began
	To         Time           `json:"to"`    // when this was made; the last step runs
	Since      Time           `json:"since"` // all that the box has from here on is in it; null: nothing was read
	More       bool           `json:"more"`  // what is older was not looked at yet
	Fault      string         `json:"fault"` // why there may be more; empty: nothing is wrong
	Points     []HistoryPoint `json:"points"`
	Stages     []Change       `json:"stages"`   // newest first; at most 200
	Sessions   []LineSession  `json:"sessions"` // the last ones that ended, newest first; at most 20
	Networks   []LineNetwork  `json:"networks"` // most contacted first; at most 20
	// OtherNetworks is how many more there are, at least.
	OtherNetworks int         `json:"other_networks"`
	Prints        []LinePrint `json:"prints"` // of TLS clients, most used first; at most 10
	OtherPrints   int         `json:"other_prints"`
}

// HistoryPoint is a step in which something happened, oldest first.
type HistoryPoint struct {
	Start      Time `json:"start"`
	Sessions   int  `json:"sessions"`    // that began in it and have ended
	Handshakes int  `json:"handshakes"`  // of TLS, in those sessions
	MessagesLo int  `json:"messages_lo"` // in those sessions, at least
	Held       int  `json:"held"`        // decisions pace, defer and cut, carried out or not
}

// LineSession is a session that ended. What was decided is of its begin: empty where it passed.
type LineSession struct {
	Seq        uint64  `json:"seq"` // of its record
	Start      Time    `json:"start"`
	Took       Seconds `json:"duration_s"`
	Server     string  `json:"server"` // its address
	Port       int     `json:"port"`
	StartTLS   string  `json:"starttls"` // none | offered | asked | accepted | refused
	TLS        string  `json:"tls"`      // none | implicit | starttls
	TLSVersion string  `json:"tls_version"`
	Handshake  string  `json:"handshake"` // none | complete | failed | abandoned
	Alert      string  `json:"alert"`
	MessagesLo int     `json:"messages_lo"`
	MessagesHi int     `json:"messages_hi"` // -1: not known
	Rejected   int     `json:"rejected"`
	Bytes      int64   `json:"bytes"`      // both ways
	EndReason  string  `json:"end_reason"` // fin | rst | timeout | cut | shutdown | unknown
	Action     string  `json:"action"`
	Acted      bool    `json:"acted"`
}

// LineNetwork is a network that a subscriber contacted.
type LineNetwork struct {
	Network  string `json:"network"`
	AS       uint64 `json:"as"`    // 0: not known
	Owner    string `json:"owner"` // empty: not known
	Sessions int    `json:"sessions"`
	Last     Time   `json:"last"`
}

// LinePrint is a TLS client that a subscriber used, with how common it is.
type LinePrint struct {
	JA4      string `json:"ja4"`
	JA3      string `json:"ja3"` // the last one
	Sessions int    `json:"sessions"`
	Last     Time   `json:"last"`
	Users    int    `json:"users"`   // subscribers with this JA4 in the last six to twelve weeks, about; 0: it is not remembered
	Of       int    `json:"of"`      // subscribers with any
	Cluster  string `json:"cluster"` // the one that goes on and has this JA4; empty: none
}
