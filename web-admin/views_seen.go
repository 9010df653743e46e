package webadmin

import "time"

// Cluster is the same rare TLS client on many subscribers: GET /api/v1/clusters. It is for people to judge; nothing is done
// because of it.
type Cluster struct {
	ID         string          `json:"id"`
	JA4        string          `json:"ja4"`
	JA3        []string        `json:"ja3"`      // some of them
	Shuffles   bool            `json:"shuffles"` // its extensions come in another order each time, so JA3 does not group it
	LooksLike  string          `json:"looks_like"`
	Began      Time            `json:"began"`
	Last       Time            `json:"last_seen"`
	Ended      Time            `json:"ended"`      // null: it goes on
	EndReason  string          `json:"end_reason"` // quiet | known_good | forgotten; empty: it goes on
	Count      int             `json:"subscribers"`
	Sessions   int             `json:"sessions"`
	MessagesLo int             `json:"messages_lo"`
	Networks   int             `json:"networks"` // about
	Bits       float64         `json:"bits"`     // what speaks for one botnet, all in all
	Weights    []ClusterWeight `json:"weights"`
	Why        string          `json:"why"`
	MayBeWrong []string        `json:"may_be_wrong"`
	Members    []ClusterMember `json:"members"` // at most 512
}

// ClusterWeight is one thing that speaks for one botnet, or against it when bits is negative.
type ClusterWeight struct {
	Name string  `json:"name"` // rarity | coincidence | spread | little | familiar
	Bits float64 `json:"bits"`
	Text string  `json:"text"`
}

// ClusterMember is a subscriber of a cluster.
type ClusterMember struct {
	Subscriber string `json:"subscriber"`
	Name       string `json:"name"`
	First      Time   `json:"first_seen"`
	Last       Time   `json:"last_seen"`
	Sessions   int    `json:"sessions"`
	MessagesLo int    `json:"messages_lo"`
	Networks   int    `json:"networks"` // about
	Former     bool   `json:"had_other_client"`
}

// Clusters is how the search for clusters stands: in [Status].
type Clusters struct {
	Botnets  int     `json:"botnets"` // that go on
	Updates  int     `json:"software_updates"`
	Learning bool    `json:"learning"` // none begins yet
	Learnt   Seconds `json:"learnt_s"` // time that the box learnt what is common here
	Prints   int     `json:"prints"`   // different ones that are known
}

// Destination is a network that is contacted much: GET /api/v1/destinations. The true number of sessions lies between
// sessions - error and sessions.
type Destination struct {
	Network  string `json:"network"`
	AS       uint64 `json:"as"`    // 0: not known
	Owner    string `json:"owner"` // empty: not known
	Sessions uint64 `json:"sessions"`
	Error    uint64 `json:"error"`
	Bytes    uint64 `json:"bytes"` // at least
}

// Destinations is a window: from is when it began.
type Destinations struct {
	Window   Seconds       `json:"window_s"`
	From     Time          `json:"from"`
	To       Time          `json:"to"`
	Sessions uint64        `json:"sessions"`  // to all networks, exactly
	Error    uint64        `json:"error"`     // a network that is not listed had at most so many
	Items    []Destination `json:"items"`     // most contacted first
	Next     string        `json:"next"`      // the cursor of the following page; the window goes on, so who moves may come twice or not at all
	Owners   Time          `json:"owners_of"` // when the database was made that names the owners; null: there is none
}

// OfferGone is a mail server that offered STARTTLS and does not any more: GET /api/v1/destinations/starttls-gone.
type OfferGone struct {
	Server  string `json:"server"` // address and port
	Network string `json:"network"`
	AS      uint64 `json:"as"`    // of the owner; 0: not known
	Owner   string `json:"owner"` // empty: not known
	Since   Time   `json:"since"` // the third session in a row without the offer
}

// SharePoint is a minute, an hour or a day of UTC: GET /api/v1/share. Those without a session are left out.
type SharePoint struct {
	Start     Time    `json:"start"`
	Clear     Counted `json:"clear"`
	StartTLS  Counted `json:"starttls"`
	Implicit  Counted `json:"implicit"`
	Unknown   Counted `json:"unknown"`   // found in mid-air, or no SMTP
	Encrypted float64 `json:"encrypted"` // share of the sessions that are known, from 0 to 1
}

// Counted is how many sessions there were, and their bytes both ways.
type Counted struct {
	Sessions uint64 `json:"sessions"`
	Bytes    uint64 `json:"bytes"`
}

// ShareQuery selects points of the encrypted share.
type ShareQuery struct {
	Step     time.Duration // a minute, an hour or a day
	From, To time.Time
	Limit    int
}
