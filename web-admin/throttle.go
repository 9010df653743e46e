package webadmin

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
)

const (
	triesAtOnce = 5
	tryEvery    = 30 * time.Second
	// A code is one of a million, and three of them are right at each moment, so that guesses at it are given fewer tries: one in 1150
	// hits in a day for somebody who has the password.
	codeTryEvery = 5 * time.Minute
	maxTriers    = 4096
)

// throttle bounds wrong tries per key: five at once, or atOnce, then one after each time every. Right ones cost nothing, but wait like the others
// once the tries are used up.
type throttle[K comparable] struct {
	now    func() time.Time
	atOnce int // 0: triesAtOnce
	every  time.Duration
	// spare is the key of those for whom there is no room: a flood slows itself down, and never a session that is logged in already.
	spare K

	mu sync.Mutex
	// fullAt is when a key has all its tries back (a GCRA arrival time).
	fullAt map[K]time.Time
}

// room is key, or spare when the table is full of keys that still owe; mu is held.
func (t *throttle[K]) room(key K) K {
	if _, known := t.fullAt[key]; !known && len(t.fullAt) >= maxTriers {
		now := t.now()
		for k, full := range t.fullAt {
			if !full.After(now) {
				delete(t.fullAt, k)
			}
		}
		if len(t.fullAt) >= maxTriers {
			return t.spare
		}
	}
	return key
}

// charge takes a try of key, or says how long it must wait for one; 0: this one counts. Asking and charging are one step, so that tries
// in parallel gain nothing.
func (t *throttle[K]) charge(key K) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, now := t.room(key), t.now()
	full := t.fullAt[key]
	if full.Before(now) {
		full = now
	}
	if wait = full.Sub(now) - time.Duration(cmp.Or(t.atOnce, triesAtOnce)-1)*t.every; wait > 0 {
		return wait
	}
	if t.fullAt == nil {
		t.fullAt = map[K]time.Time{}
	}
	t.fullAt[key] = full.Add(t.every)
	return 0
}

// refund gives back what charge took: the try was right.
func (t *throttle[K]) refund(key K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key = t.room(key)
	if full, ok := t.fullAt[key]; ok {
		t.fullAt[key] = full.Add(-t.every)
	}
}

// admit is charge for a try of which it is known already whether it is right.
func (t *throttle[K]) admit(key K, right bool) (wait time.Duration) {
	if wait = t.charge(key); wait == 0 && right {
		t.refund(key)
	}
	return wait
}

// source64 is what tries from an address are counted under: IPv6 by /64.
func source64(from netip.Addr) netip.Addr {
	from = from.Unmap().WithZone("")
	if from.Is6() {
		if p, err := from.Prefix(64); err == nil {
			from = p.Addr()
		}
	}
	return from
}

// accountKey is what tries for a name are counted under: users have one each, names that are nobody's share some thousand, and look no
// different. Which ones share depends on a secret.
func accountKey(key []byte, name string, exists bool) string {
	if exists {
		return name
	}
	mac := hmac.New(sha256.New, derived(key, "names"))
	mac.Write([]byte(name))
	n := binary.BigEndian.Uint16(mac.Sum(nil)) % (maxTriers / 2)
	return string([]byte{0, byte(n >> 8), byte(n)}) // no user's name has a zero byte
}

// derived is a key for one purpose.
func derived(key []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("mailweir web admin: " + purpose))
	return mac.Sum(nil)
}
