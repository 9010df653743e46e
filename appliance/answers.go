package appliance

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

const (
	triedKept   = 5 * time.Minute // an answer is good for so long for who is typing: what came to the journal meanwhile is the less of it
	triedMost   = 4               // answers
	triedBytes  = 512 << 10       // a longer one is not kept: this is memory of the process that judges packets
	typedAudits = 10 * time.Minute
)

// answers keeps the last answers to what-ifs, so that values that somebody types once more are not tried once more, and knows of whom it is on record already that they are trying some. The zero value is ready.
type answers struct {
	mu     sync.Mutex
	kept   []keptAnswer // the latest last
	typing map[string]time.Time
}

type keptAnswer struct {
	of     triedKey
	at     time.Time
	answer json.RawMessage
}

// triedKey is all that an answer depends on but the journal.
type triedKey [sha256.Size]byte

// find is the answer that is kept; nil: there is none.
func (t *answers) find(of triedKey, now time.Time) json.RawMessage {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = slices.DeleteFunc(t.kept, func(one keptAnswer) bool { return now.Sub(one.at).Abs() >= triedKept })
	for _, one := range t.kept {
		if one.of == of {
			return one.answer
		}
	}
	return nil
}

func (t *answers) keep(of triedKey, answer json.RawMessage, now time.Time) {
	if len(answer) > triedBytes {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = slices.DeleteFunc(t.kept, func(one keptAnswer) bool { return one.of == of })
	if len(t.kept) == triedMost {
		t.kept = slices.Delete(t.kept, 0, 1)
	}
	t.kept = append(t.kept, keptAnswer{of, now, answer})
}

// begins tells whether it is to be on record that who tries as they type: once in a while.
func (t *answers) begins(who string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for other, at := range t.typing {
		if now.Sub(at).Abs() >= typedAudits {
			delete(t.typing, other)
		}
	}
	if _, known := t.typing[who]; known {
		return false
	}
	if t.typing == nil {
		t.typing = map[string]time.Time{}
	}
	t.typing[who] = now
	return true
}
