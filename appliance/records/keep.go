package records

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	stateHangs    = 5 * time.Second        // how long the disk may take for the state before it is said to hang
	statePatience = 100 * time.Millisecond // and how long it is waited for while the mirror has the state
)

// stateFile is the part of an os.File that the chain needs.
type stateFile interface {
	io.WriterAt
	Sync() error
	Close() error
}

// stateKeeper writes a chain's state, in one goroutine at a time, which ends when there is nothing to write; close waits for it. One that hangs keeps nobody longer than hangs:
// of the states that come meanwhile the newest is written when the disk answers.
type stateKeeper struct {
	file   stateFile
	mirror stateFile // in memory, and never waited for; nil: none
	hangs  time.Duration

	mu     sync.Mutex // never held over the disk; guards all below
	next   [stateSize]byte
	due    bool          // next is to be written
	busy   chan struct{} // closed when all is written; nil: it is
	began  time.Time     // when the write that runs now began
	err    error         // of the last one
	failed uint64
}

// keep writes a state. It has one caller at a time.
func (k *stateKeeper) keep(state [stateSize]byte) error {
	patience := k.hangs
	if k.mirror != nil {
		if _, err := k.mirror.WriteAt(state[:], 0); err == nil {
			patience = min(patience, statePatience)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next, k.due = state, true
	if k.busy != nil { // it hangs
		return k.trouble()
	}
	k.busy, k.began = make(chan struct{}), time.Now()
	busy := k.busy
	go k.write()
	k.mu.Unlock()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-busy:
	case <-late.C:
	}
	k.mu.Lock()
	return k.trouble()
}

func (k *stateKeeper) write() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.due {
		state := k.next
		k.due, k.began = false, time.Now()
		k.mu.Unlock()
		_, err := k.file.WriteAt(state[:], 0)
		k.mu.Lock()
		if k.err = err; err != nil {
			k.failed++
		}
	}
	close(k.busy)
	k.busy = nil
}

// trouble is why the last state is not written; mu is held.
func (k *stateKeeper) trouble() error {
	if took := time.Since(k.began); k.busy != nil && took >= k.hangs {
		return fmt.Errorf("the disk has not answered for %v", took.Round(time.Second))
	}
	return k.err
}

// status is how many writes failed so far, and why the last state is not written.
func (k *stateKeeper) status() (failed uint64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed, k.trouble()
}

// close waits for what is to be written, and for the disk.
func (k *stateKeeper) close() error {
	k.mu.Lock()
	busy := k.busy
	k.mu.Unlock()
	if busy != nil {
		<-busy
	}
	_, err := k.status()
	if k.mirror != nil {
		err = errors.Join(err, k.mirror.Close())
	}
	return errors.Join(err, k.file.Sync(), k.file.Close())
}
