package evidence

import (
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// bounded tells whether MaxRecords is about a record. Changes of stage are few, and what everything else is read by.
func bounded(r *records.Record) bool { return r.Kind != records.KindStage }

// newest knows the numbers of the last MaxRecords records.
type newest struct {
	seqs []uint64
	next int
}

func (n *newest) add(seq uint64) {
	if len(n.seqs) < MaxRecords {
		n.seqs = append(n.seqs, seq)
		return
	}
	n.seqs[n.next] = seq
	n.next = (n.next + 1) % MaxRecords
}

// first is the lowest number that is among them; 0: all are.
func (n *newest) first() uint64 {
	if len(n.seqs) < MaxRecords {
		return 0
	}
	return n.seqs[n.next]
}

// left is what a pack has no room for: the oldest.
type left struct {
	Sessions, Decisions int
	Messages            int       // of Sessions, at least
	FirstSeq, LastSeq   uint64    // the records' numbers
	First, Last         time.Time // the records' times
}

func (l *left) add(r *records.Record) {
	if l.FirstSeq == 0 {
		l.FirstSeq, l.First = r.Seq, r.Time
	}
	l.LastSeq, l.Last = r.Seq, r.Time
	if r.Kind == records.KindSession {
		l.Sessions++
		l.Messages += atLeast(r)
	} else {
		l.Decisions++
	}
}

// Any tells whether anything was left out.
func (l left) Any() bool { return l.FirstSeq > 0 }
