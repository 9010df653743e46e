package ruleset

import (
	"fmt"
	"io/fs"

	"github.com/google/nftables"
)

// Counter is what the rules of one name have seen.
type Counter struct{ Packets, Bytes uint64 }

// Counters are the counters of our rules since Apply. A packet is counted by
// each rule that it meets: one that is deferred was queued before.
type Counters struct {
	CutReset         Counter // answered with a reset
	PureACK          Counter // passed: no payload
	Released         Counter // passed: nothing more to be learnt
	QueuedUp         Counter // from subscribers into the queue
	QueuedDown       Counter // answers into the queue
	Deferred         Counter // connections (their SYN) led to the responder
	Invalid          Counter // passed: the other end will not get it, or not take it
	ResponderDropped Counter // came to the responder's port by themselves
	Copied           Counter // the server's, inside TLS: passed, and copied
}

// Counters reads the counters. The error satisfies
// errors.Is(err, fs.ErrNotExist) when the table is gone.
func (r *Ruleset) Counters() (Counters, error) {
	var objects []nftables.Obj
	err := r.do(func(c *conn) (err error) {
		objects, err = c.GetObjects(r.table)
		return err
	})
	if err != nil {
		return Counters{}, fmt.Errorf("read counters: %w", err)
	}
	var all Counters
	fields := map[string]*Counter{
		counterCutReset:   &all.CutReset,
		counterPureACK:    &all.PureACK,
		counterReleased:   &all.Released,
		counterQueuedUp:   &all.QueuedUp,
		counterQueuedDown: &all.QueuedDown,
		counterDeferred:   &all.Deferred,
		counterInvalid:    &all.Invalid,
		counterResponder:  &all.ResponderDropped,
		counterCopied:     &all.Copied,
	}
	for _, o := range objects {
		if c, ok := o.(*nftables.CounterObj); ok && fields[c.Name] != nil {
			*fields[c.Name] = Counter{Packets: c.Packets, Bytes: c.Bytes}
			delete(fields, c.Name)
		}
	}
	if len(fields) > 0 {
		return Counters{}, fmt.Errorf("read counters: table %s does not have them all: %w", TableName, fs.ErrNotExist)
	}
	return all, nil
}
