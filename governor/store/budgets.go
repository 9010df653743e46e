package store

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mailweir/mailweir/governor"
)

const (
	// minLog is how long the log becomes at least before a snapshot is due, in bytes.
	minLog = 4 << 20

	// maxBehind bounds the log: it may be so many times as long as the newest snapshot, or as minLog, before Save
	// refuses to make it longer. It comes to that only if no snapshot can be made, as on a full disk; what is left of
	// the disk is then for others.
	maxBehind = 8

	// maxTorn is the longest end of the last log that is taken for a Save that a power cut has torn, in bytes: more than
	// one Save of the box. A longer one is damage.
	maxTorn = 1 << 20
)

// part is a file of budgets. Its number says when it was begun: a snapshot holds everything saved before the log of the
// same number was begun.
type part struct {
	snapshot bool
	number   uint64
	salt     uint32
	size     int64 // when it was opened; of the last log only what is good
}

// Ends of the names of files that do not count.
const (
	beingWritten = ".new" // a snapshot that is not whole yet
	needlessNow  = ".old" // what waits to be deleted
)

func (p part) name() string {
	if p.snapshot {
		return fmt.Sprintf("snapshot-%010d-%08x", p.number, p.salt)
	}
	return fmt.Sprintf("log-%010d-%08x", p.number, p.salt)
}

// parsePart is the part with a name; false for a file of somebody else.
func parsePart(name string) (part, bool) {
	p := part{snapshot: strings.HasPrefix(name, "snapshot-")}
	_, numbers, _ := strings.Cut(name, "-")
	if _, err := fmt.Sscanf(numbers, "%d-%x", &p.number, &p.salt); err != nil {
		return part{}, false
	}
	return p, p.name() == name
}

func newSalt() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:])
}

// budgets are a snapshot of all subscribers and logs of what changed since.
type budgets struct {
	disk    disk
	written *atomic.Int64 // bytes given to the disk

	// found by openBudgets
	parts []part // what Load reads, in this order
	state governor.SavedState
	any   bool
	torn  int64 // bytes of a Save that was torn

	mu       sync.Mutex // guards all below; held over the disk
	enc      framer
	log      logFile
	behind   int64  // bytes in all logs that the newest snapshot does not hold
	begun    int64  // bytes in the log since it was begun
	newest   uint64 // number of the newest snapshot
	snapshot int64  // its bytes
	damaged  bool   // a snapshot would heal it
	running  bool   // a snapshot is being written
	waiting  bool   // the log was begun for a snapshot that was not made
	closed   bool
}

// openBudgets finds the newest good snapshot and the logs after it, and reads them once for where they end and for the
// clock. It writes nothing, so that it works on a disk that is full.
func openBudgets(d disk, written *atomic.Int64) (*budgets, error) {
	names, err := d.names()
	if err != nil {
		return nil, err
	}
	b := &budgets{disk: d, written: written}
	var snapshots, logs []part
	for _, name := range names {
		switch p, ok := parsePart(name); {
		case !ok:
		case p.snapshot:
			snapshots = append(snapshots, p)
		default:
			logs = append(logs, p)
		}
	}
	newest := func(x, y part) int { return cmp.Or(cmp.Compare(y.number, x.number), cmp.Compare(x.salt, y.salt)) }
	slices.SortFunc(snapshots, newest)
	slices.SortFunc(logs, newest)
	slices.Reverse(logs)

	last := uint64(0)
	from := uint64(0)
	if len(snapshots) > 0 {
		best, whole := b.best(snapshots)
		b.parts, b.damaged, b.snapshot = []part{best}, !whole, best.size
		from, last = best.number, snapshots[0].number
		b.newest = last
	}
	for i, p := range logs {
		last = max(last, p.number)
		if p.number < from {
			continue
		}
		w := b.survey(&p)
		b.damaged = b.damaged || w.lost > 0 || w.blind
		if torn := p.size - w.end; torn > maxTorn {
			b.damaged = true
		} else if i == len(logs)-1 && !w.blind && p.number == last {
			p.size, b.torn = w.end, torn
			b.log = logFile{part: p, good: w.end, there: true, named: true}
			b.begun = w.end
		} else if torn > 0 {
			b.damaged = true
		}
		b.behind += p.size
		if p.size > 0 || w.blind { // of one that cannot be read, nobody knows the size
			b.parts = append(b.parts, p)
		}
	}
	if !b.log.there {
		b.log.part = part{number: last + 1, salt: newSalt()}
	}
	return b, nil
}

// best is the newest snapshot without damage, or the one that has lost least if all are damaged.
func (b *budgets) best(newestFirst []part) (best part, whole bool) {
	least, at := ^uint64(0), governor.SavedState{}
	before, any := b.state, b.any
	for _, p := range newestFirst {
		b.state, b.any = before, any
		w := b.survey(&p)
		lost := w.lost + w.tail
		if !w.whole {
			lost++
		}
		if lost < least {
			best, least, at = p, lost, b.state
		}
		if lost == 0 {
			break
		}
	}
	b.state, b.any = at, at != governor.SavedState{}
	return best, least == 0
}

// survey reads a part once, notes the last state in it, and sets its size.
func (b *budgets) survey(p *part) walked {
	w, err := b.walk(p, func(kind byte, payload []byte, _ uint64) error {
		if st, ok := decodeState(payload); ok {
			b.noteState(st)
		}
		return nil
	})
	if err != nil { // it cannot be opened
		w.blind, w.lost = true, w.lost+1
	}
	return w
}

// noteState keeps the state with the latest clock, and the wall clock only with the clock that belongs to it.
func (b *budgets) noteState(st governor.SavedState) {
	cases := max(st.Cases, b.state.Cases)
	if !b.any || st.Clock >= b.state.Clock {
		b.state = st
	}
	b.state.Cases, b.any = cases, true
}

// walk reads p up to its size, or all of it if the size is 0.
func (b *budgets) walk(p *part, each func(kind byte, payload []byte, records uint64) error) (w walked, err error) {
	f, err := b.disk.open(p.name(), false)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if p.size == 0 {
		if p.size, err = f.Size(); err != nil {
			return w, err
		}
	}
	return walk(f, p.size, p.salt, each)
}

// due tells whether a snapshot should be made: the log has outgrown the last one, or there is damage that it would heal.
func (b *budgets) due() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.running && (b.damaged || b.behind > max(b.snapshot, minLog))
}

// logged tells whether a log has anything that the newest snapshot does not hold.
func (b *budgets) logged() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.behind > 0
}

// load gives all that was saved to each, in the order in which it was saved. It returns how many records were damaged
// and left out, and where the first of them was.
func (b *budgets) load(each func(*governor.Saved)) (lost uint64, first error) {
	if len(b.parts) > 0 && !b.parts[0].snapshot && b.parts[0].number > 1 {
		lost, first = 1, fmt.Errorf("%s: there is no snapshot before it", b.parts[0].name())
	}
	var dec decoder
	for i := range b.parts {
		p := &b.parts[i]
		w, err := b.walk(p, func(kind byte, payload []byte, records uint64) error {
			if kind != kindRecords {
				return nil
			}
			if got, err := dec.records(payload, each); err != nil {
				lost += max(records, got) - got
				if first == nil {
					first = fmt.Errorf("%s: %w", p.name(), err)
				}
			}
			return nil
		})
		lost += w.lost
		why := w.first
		switch {
		case err != nil:
			lost++
			why = err
		case p.snapshot && !w.whole:
			lost += max(1, w.tail)
			why = cmp.Or(why, errors.New("the snapshot is not whole"))
		case w.tail > 0: // what may be torn is not looked at
			lost += w.tail
			why = cmp.Or(why, errors.New("the end of the log is damaged"))
		}
		if why != nil && first == nil {
			first = fmt.Errorf("%s: %w", p.name(), why)
		}
	}
	return lost, first
}

// save appends subs to the log and waits until the disk has them.
func (b *budgets) save(subs []governor.Saved, st governor.SavedState) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fs.ErrClosed
	}
	if b.behind > maxBehind*max(b.snapshot, minLog) {
		return fmt.Errorf("the log of budgets has %d MiB and is not made longer, because no snapshot can be written", b.behind>>20)
	}
	n, err := b.log.append(b, func(write func([]byte) error) error {
		return b.enc.encode(b.log.salt, st, subs, write)
	})
	b.behind += n
	b.begun += n
	return err
}

func (b *budgets) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	return b.log.close()
}
