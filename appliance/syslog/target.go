package syslog

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/spool"
)

// sender is one connection to a collector. Only target.run calls it.
type sender interface {
	// send writes items and says how many it took; fewer than there are when it has to hear of earlier ones first.
	send(items []spool.Item) (int, error)
	// acked is up to where records have arrived as far as the protocol can tell, and safe is up to where none needs to be sent on another connection;
	// 0 while nothing is known. They cost little.
	acked() uint64
	safe() uint64
	// due tells that the connection is to be ended, so that the collector proves that it has read what went over it.
	due() bool
	// news has a value when acked may have moved and there may be room to send again.
	news() <-chan struct{}
	// broken is closed when the collector ended the connection or its host refused a record; why then says what happened.
	broken() <-chan struct{}
	why() error
	// settle says that nothing follows, and waits until everything is safe, or broken, or ctx ends.
	settle(ctx context.Context)
	// close ends the connection; acked and safe still answer. interrupt, from any goroutine, makes send and settle return.
	close()
	interrupt()
}

var (
	errEnded    = errors.New("the collector ended the connection")
	errUnproven = errors.New("it does not end a connection that was ended here, so that nothing says whether it has read what went over it")
	errOver     = errors.New("the connection is over") // which is no trouble
)

// refusedError is what a collector that acknowledges says to a record that it does not want.
type refusedError struct {
	seq  uint64
	text string
}

func (e *refusedError) Error() string { return "it refused a record: " + e.text }

const (
	maxBatch  = 256                  // records per write
	maxBurst  = 32                   // datagrams at once: the collector's socket holds about a hundred records
	restFor   = 5 * time.Millisecond // after a write that was not full: what comes meanwhile goes with the next
	askPeriod = 200 * time.Millisecond

	// provenAfter is how long a connection must last, after one that did not, before sending is said to work again. That it was made proves
	// little: a collector, or what stands before it, may take each and end it at once, and with TLS 1.3 (RFC 8446, appendix C.3) it refuses our
	// certificate only after our side's handshake is over. Over RELP the first record that is acknowledged proves it, too.
	provenAfter = time.Second
	maxRefusals = 5 // of one record, until it is left out
	maxUnended  = 5 // connections in a row that a collector does not end, until it is not asked to any more
)

// target sends to one collector. Its goroutine is Exporter.Run's.
type target struct {
	Target
	cfg           *Config
	scheme        string
	host, address string
	reader        *spool.Reader
	before        <-chan struct{} // closed when nobody else sends from the same position any more; nil: nobody does
	ended         chan struct{}   // closed when this one does not any more

	// Only run touches these.
	backlog  []spool.Item // read and to be sent
	reached  uint64       // gaps up to here were told
	broke    bool         // one has ended in trouble
	refused  uint64       // the record that was refused last
	refusals int          // how often in a row
	unended  int          // connections in a row that the collector did not end
	never    bool         // the next is not ended here: see stream.never
	restless restless

	mu     sync.Mutex // guards all below
	status Status     // without Behind
	down   bool       // Down has been told, and not Up since
	acked  uint64     // what has arrived as far as is known

	oldest      time.Time // of what is after oldestAfter
	oldestAfter uint64
	looks       chan struct{} // closed when who looks for it is done; nil: nobody does
}

func (t *target) state() Status {
	t.mu.Lock()
	s, acked := t.status, t.acked
	t.mu.Unlock()
	if s.Behind = t.cfg.Spool.Behind(acked); s.Behind == 0 {
		return s
	}
	s.Oldest = t.oldestFrom(acked)
	return s
}

// lookFor is how long who asks waits for the disk.
const lookFor = time.Second

// oldestFrom is the time of the oldest record after acked; as it was found last where the disk does not answer.
func (t *target) oldestFrom(acked uint64) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.oldest.IsZero() && t.oldestAfter == acked { // reading it costs more than asking again while a collector is away
		return t.oldest
	}
	if t.looks == nil {
		t.looks = make(chan struct{})
		go func() { // ends with the reading
			oldest := t.cfg.Spool.Oldest(acked)
			t.mu.Lock()
			defer t.mu.Unlock()
			t.oldest, t.oldestAfter = oldest, acked
			close(t.looks)
			t.looks = nil
		}()
	}
	looks := t.looks
	t.mu.Unlock()
	late := time.NewTimer(lookFor)
	defer late.Stop()
	select {
	case <-looks:
	case <-late.C:
	}
	t.mu.Lock()
	return t.oldest
}

// run connects, sends and connects again until ctx has ended and everything is sent, or the drain time is over, or the collector is not there.
func (t *target) run(ctx context.Context) {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx)) // ends Config.Drain after ctx
	defer cancel()
	defer t.reader.Close()
	defer context.AfterFunc(ctx, func() { // runs in a goroutine of its own, which ends with hard
		select {
		case <-time.After(t.cfg.Drain):
			cancel()
		case <-hard.Done():
		}
	})()

	pause := t.cfg.MinPause
	for t.wanted(ctx) {
		began := time.Now()
		err := t.connection(ctx, hard)
		if errors.Is(err, errOver) {
			pause = t.cfg.MinPause
			continue
		}
		if err == nil || hard.Err() != nil {
			break
		}
		t.troubled(err)
		// Only a connection that lasted begins with short pauses again: a collector that takes connections and drops them
		// must not have us dial, and tell about it, twice a second.
		if time.Since(began) > t.cfg.MaxPause {
			pause = t.cfg.MinPause
		}
		select {
		case <-time.After(pause - pause/4 + rand.N(pause/2+1)):
		case <-ctx.Done(): // the spool keeps what is left
		}
		if ctx.Err() != nil {
			break
		}
		pause = min(2*pause, t.cfg.MaxPause)
	}
	t.mu.Lock()
	t.status.Up = false
	t.mu.Unlock()
}

// wanted waits until there is something to send, where the collector ends connections over which nothing comes and was there when it last was asked; false when ctx has ended and there is nothing.
func (t *target) wanted(ctx context.Context) bool {
	for t.restless.idle(time.Now()) > 0 && !t.isDown() {
		more := t.reader.Changed()
		if t.cfg.Spool.Behind(t.reader.Position()) > 0 {
			break
		}
		select {
		case <-more:
		case <-ctx.Done():
			return t.cfg.Spool.Behind(t.reader.Position()) > 0
		}
	}
	return true
}

func (t *target) isDown() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.down
}

// connection serves one connection from dialling to its end. nil means that ctx has ended and everything is sent.
func (t *target) connection(ctx, hard context.Context) error {
	from := t.reader.Position()
	t.reader.Seek(from)
	t.backlog = nil
	// An exporter that ended since New may have moved the position, and told of the gaps before it.
	t.reached = max(t.reached, from)
	t.mu.Lock()
	t.acked = max(t.acked, from)
	if t.unproven() {
		t.acked = max(t.acked, t.reader.Arrived(0))
	}
	t.mu.Unlock()
	never := t.never
	s, err := t.dial(hard)
	if err != nil {
		return err
	}
	if again := t.again(from, t.reader.Taken(0)); again.Count > 0 {
		t.tell(again)
	}
	stop := context.AfterFunc(hard, s.interrupt)
	err = t.serve(ctx, hard, s)
	stop()
	s.close()
	t.note(0, s)
	if never { // a collector that hung is asked again, on the next connection
		t.never, t.unended = false, maxUnended-1
	}
	if st, is := s.(*stream); is && errors.Is(err, errEnded) && t.restless.ended(time.Since(st.quiet), time.Now()) {
		err = errOver
	}
	t.broke = t.broke || err != nil && !errors.Is(err, errOver)
	if refusal, ok := errors.AsType[*refusedError](err); ok {
		t.leaveOut(refusal)
	}
	return err
}

// unproven is whether a collector's kernel acknowledges and the collector does not.
func (t *target) unproven() bool { return t.scheme == "tcp" || t.scheme == "tls" }

// again is what a connection that begins after from sends once more, of what may have arrived; and what may be missing before that, since the collector's program may not have taken it.
// With RELP only what was acknowledged has arrived.
func (t *target) again(from, taken uint64) Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.unproven() || t.acked <= from {
		return Event{}
	}
	n := t.acked - from
	t.status.Again += n
	e := Event{What: Again, Count: n, FirstSeq: from + 1, LastSeq: t.acked}
	if taken < from {
		e.Doubt = records.Ranges{taken + 1, from}
	}
	return e
}

// leaveOut counts how often in a row a record was refused, and goes on without it in the end: one that a collector never takes must not hold up all others.
// It must be the first that is left to send, or what is before it would be left out with it; numbers that the spool does not have any more are not.
func (t *target) leaveOut(r *refusedError) {
	if r.seq != t.refused {
		t.refused, t.refusals = r.seq, 0
	}
	if t.refusals++; t.refusals < maxRefusals {
		return
	}
	t.reader.Seek(t.reader.Position())
	if first, err := t.reader.Next(1); err != nil || len(first) == 0 || first[0].Seq != r.seq {
		return // trouble with reading is told when it is read to be sent
	}
	t.reader.Ack(r.seq)
	t.mu.Lock()
	t.status.Dropped++
	t.mu.Unlock()
	t.tell(Event{What: Refused, Count: 1, FirstSeq: r.seq, LastSeq: r.seq, Err: r.text})
}

func (t *target) serve(ctx, hard context.Context, s sender) error {
	ask := time.NewTicker(askPeriod)
	defer ask.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	began, full, last := time.Now(), false, uint64(0)
	for {
		t.note(0, s)
		if t.proven(began, s) {
			t.fine()
		}
		if s.due() {
			return t.prove(hard, s, last)
		}
		more := t.reader.Changed()
		if len(t.backlog) == 0 {
			if err := t.read(); err != nil {
				return err
			}
		}
		switch {
		case hard.Err() != nil:
			return hard.Err()
		case len(t.backlog) == 0 && ctx.Err() != nil:
			s.settle(hard)
			t.note(0, s)
			if t.scheme != "udp" && last > 0 && s.safe() >= last { // it has read everything
				t.fine()
			}
			return nil
		case len(t.backlog) == 0:
			full = false
			select {
			case <-more:
			case <-s.news():
			case <-ask.C:
			case <-ctx.Done():
			case <-s.broken():
				return s.why()
			}
			continue
		case full:
			select {
			case <-s.news():
			case <-ask.C:
			case <-hard.Done():
			case <-s.broken():
				return s.why()
			}
		}
		select {
		case <-rest.C:
		case <-s.broken(): // which send tells
		case <-ctx.Done():
		}
		n, err := s.send(t.backlog)
		full = n < len(t.backlog)
		if n > 0 {
			last = t.backlog[n-1].Seq
		}
		t.backlog = t.backlog[n:]
		t.note(n, s)
		if err != nil {
			return err
		}
		if n > 0 && t.scheme == "udp" {
			t.fine()
		}
		if n < maxBatch || t.scheme == "udp" {
			rest.Reset(restFor)
		} else {
			rest.Reset(0)
		}
	}
}

// prove ends a connection over which last was sent last, and has the collector prove that it has read all: errOver. One that does not for maxUnended connections in a row is not asked to
// any more, since it would get the same records for ever.
func (t *target) prove(hard context.Context, s sender, last uint64) error {
	wait, cancel := context.WithTimeout(hard, t.cfg.Prove)
	defer cancel()
	s.settle(wait)
	t.note(0, s)
	if s.safe() >= last {
		t.unended = 0
		t.fine()
		return errOver
	}
	if hard.Err() == nil {
		t.unended++
		t.never = t.unended >= maxUnended
	}
	select {
	case <-s.broken():
		return s.why()
	default:
	}
	return errUnproven
}

// read fills the backlog from the spool and tells of numbers that are not there any more.
func (t *target) read() error {
	batch := maxBatch
	if t.scheme == "udp" {
		batch = maxBurst
	}
	items, err := t.reader.Next(batch)
	var missing records.Ranges
	for _, it := range items {
		if it.Seq > t.reached {
			if it.Seq > t.reached+1 {
				missing.AddRange(t.reached+1, it.Seq-1)
			}
			t.reached = it.Seq
		}
	}
	t.backlog = items
	if len(missing) > 0 {
		t.mu.Lock()
		t.status.Dropped += missing.Count()
		t.mu.Unlock()
		for _, piece := range missing.Pieces() {
			t.tell(Event{What: Loss, Count: piece.Count(), FirstSeq: piece.First(), LastSeq: piece.Last(), Seqs: piece.String()})
		}
	}
	return err
}

// note keeps Status and the position in step with the connection.
func (t *target) note(sent int, s sender) {
	acked := s.acked()
	safe := s.safe()
	t.reader.Ack(safe)
	if st, is := s.(*stream); is {
		t.reader.Arrived(acked)
		t.reader.Taken(st.taken)
	} else {
		t.reader.Taken(safe) // as far as its protocol can tell
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Sent += uint64(sent)
	t.acked = max(t.acked, acked)
}

// proven tells whether a connection that began at a time shows that sending works. With UDP there is none, and only a record that was not refused shows it.
func (t *target) proven(began time.Time, s sender) bool {
	if t.scheme == "udp" {
		return false
	}
	select {
	case <-s.broken():
		return false
	default:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.down || time.Since(began) >= provenAfter || !t.unproven() && s.acked() > 0
}

// fine notes that sending works.
func (t *target) fine() {
	t.mu.Lock()
	t.status.Up, t.status.LastError = true, ""
	up := t.down
	t.down = false
	t.mu.Unlock()
	if up {
		t.tell(Event{What: Up})
	}
}

// troubled notes that sending does not work, and tells it once per trouble.
func (t *target) troubled(err error) {
	words := t.explain(err)
	t.mu.Lock()
	first := !t.down
	t.down = true
	t.status.Up, t.status.LastError = false, words
	t.mu.Unlock()
	if first {
		t.tell(Event{What: Down, Err: words})
	}
}

func (t *target) tell(events ...Event) {
	for _, e := range events {
		e.Target, e.Time = t.URL, t.cfg.Now()
		t.cfg.OnEvent(e)
	}
}
