// Package verify tells whether a chain of records is whole: that no number is missing, that each record is what the one after it says it
// was, and that they stand in their order.
//
// A record's prev is the hash of the record before (package records), and text_sum that of its own text. So a change of the structured data, the kind or the time of a
// record shows in the record after it, and one of the text in itself. Not noticed are changes of what the chain does not hold, since collectors rewrite it: priority and host name; and of
// the very last record, since nobody vouches for it yet, nor that records are missing behind it: for both the box's own head is needed (Head).
//
// The chain has no key. Whoever can write to a collector's log can make another chain from any record on, whole in itself: only what the box itself has, its
// head, spool and journal, or what another collector has, contradicts him. Whoever is root on the box can make those anew, too.
package verify

// What a Finding tells.
const (
	Gap       = "gap"       // numbers are missing
	Edited    = "edited"    // a record is not what it was
	Reordered = "reordered" // a record stands behind one that came after it
	Conflict  = "conflict"  // a number stands for two records
	Damaged   = "damaged"   // something of ours is there, and is not whole
	Unread    = "unread"    // something was not looked at: what is in it is not known
)

// Finding is something that is not as it should be.
type Finding struct {
	Kind  string `json:"kind"`
	Where string `json:"where"`
	Box   string `json:"box,omitempty"`
	First uint64 `json:"first_seq,omitempty"`
	Last  uint64 `json:"last_seq,omitempty"`
	Text  string `json:"text"`

	order int
	cause string // the same for all findings that have one cause, "" where that is not known: see Joined
}

// The verdicts.
const (
	IsWhole  = "whole"
	NotWhole = "not whole"
	NotKnown = "not known" // what was read is whole, but some of it could not be read, or there was nothing to read
)

// Report is what a Checker found.
type Report struct {
	Records    int       `json:"records"`    // different ones
	Deleted    int       `json:"deleted"`    // of which only the hash is left
	Duplicates int       `json:"duplicates"` // the same record, once more
	Boxes      []Box     `json:"boxes"`
	Findings   []Finding `json:"findings"` // in the order in which they stand
	Notes      []string  `json:"notes"`    // what somebody should know, and is no finding
}

// Verdict is IsWhole, NotWhole or NotKnown, which it also is where nothing is known of any box.
func (r *Report) Verdict() string {
	v := IsWhole
	if len(r.Boxes) == 0 {
		v = NotKnown
	}
	for _, f := range r.Findings {
		if f.Kind != Unread {
			return NotWhole
		}
		v = NotKnown
	}
	return v
}

// Whole tells whether nothing was found, and all was read.
func (r *Report) Whole() bool { return r.Verdict() == IsWhole }

// Box is one box's chain. Last is First-1 where there is no record of it.
type Box struct {
	Box   string `json:"box"`
	First uint64 `json:"first_seq"`
	Last  uint64 `json:"last_seq"`
}

// Head is the last record of a box, as the box itself knows it. Seq 0: it is not known.
type Head struct {
	Box  string // "": of the only one
	Seq  uint64
	Hash string // hexadecimal
}
