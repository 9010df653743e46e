package session

import "sync"

// How many runs of like commands may wait for replies; a run of RCPT is one
// entry however long it is. Sixteen are in the tracker, more are lent from a pool.
const (
	usualOutstanding = 16
	maxOutstanding   = 1024
)

// outstanding is a run of n commands of one verb that were sent and not answered.
type outstanding struct {
	verb verb
	n    int32
	at   int64 // offset of the first command's first byte
}

// queue holds the outstanding commands in the order sent (RFC 2920).
type queue struct {
	usual [usualOutstanding]outstanding
	large *[maxOutstanding]outstanding // instead of usual, until the queue is empty
	head  int
	len   int
}

var larges = sync.Pool{New: func() any { return new([maxOutstanding]outstanding) }}

func (q *queue) ring() []outstanding {
	if q.large != nil {
		return q.large[:]
	}
	return q.usual[:]
}

func (q *queue) entry(i int) *outstanding {
	ring := q.ring()
	return &ring[(q.head+i)%len(ring)]
}

// push adds a command, and reports false where there is no room.
func (q *queue) push(v verb, at int64) bool {
	if q.len > 0 {
		if last := q.entry(q.len - 1); last.verb == v && last.n < 1<<30 && !v.final() {
			last.n++
			return true
		}
	}
	if q.len == len(q.ring()) {
		if q.large != nil {
			return false
		}
		large := larges.Get().(*[maxOutstanding]outstanding)
		for i := range q.len {
			large[i] = *q.entry(i)
		}
		q.large, q.head = large, 0
	}
	q.len++
	*q.entry(q.len - 1) = outstanding{v, 1, at}
	return true
}

// pop takes one command off the front.
func (q *queue) pop() {
	e := q.entry(0)
	if e.n--; e.n == 0 {
		q.drop(1)
	}
}

// drop takes n runs off the front.
func (q *queue) drop(n int) {
	q.head, q.len = (q.head+n)%len(q.ring()), q.len-n
	if q.len == 0 && q.large != nil {
		larges.Put(q.large)
		q.large, q.head = nil, 0
	}
}

// first is the oldest outstanding command.
func (q *queue) first() (outstanding, bool) {
	if q.len == 0 {
		return outstanding{}, false
	}
	return *q.entry(0), true
}

// find is the index of the first run of v, -1 if there is none.
func (q *queue) find(v verb) int {
	for i := range q.len {
		if q.entry(i).verb == v {
			return i
		}
	}
	return -1
}

// skip drops the first n runs and counts the message ends among them.
func (q *queue) skip(n int) (finals int) {
	for i := range n {
		if q.entry(i).verb.final() {
			finals++
		}
	}
	q.drop(n)
	return finals
}

// finals counts the message ends that wait for a reply.
func (q *queue) finals() (n int) {
	for i := range q.len {
		if q.entry(i).verb.final() {
			n++
		}
	}
	return n
}

// chunks reports whether a BDAT waits for its reply.
func (q *queue) chunks() bool { return q.find(bdat) >= 0 || q.find(bdatLast) >= 0 }

// endsWith reports whether the last command is a v.
func (q *queue) endsWith(v verb) bool { return q.len > 0 && q.entry(q.len-1).verb == v }
