package appliance

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// Bounds of the process that hashes passwords. Its priority lets packets go first, and an operator log in all the same while the box is busy.
const (
	sumsNice   = 10
	sumsMemory = 256 << 20
	sumsTime   = 30 * time.Second // for an answer
)

// Bounds of the process that makes the web admin's TLS handshakes: 512 connections at most, some 60 kB each.
const (
	doorNice   = 10
	doorMemory = 256 << 20
)

// passwords has them hashed in a process of its own: it computes for a tenth of a second and leaves 19 MiB of garbage each time, to collect which Go looks
// at all that is known of all subscribers, on all processors. Packets would wait for that.
type passwords struct {
	exe string // of mailweir
	log *slog.Logger

	closed  atomic.Bool
	process atomic.Pointer[os.Process] // nil: none runs

	mu      sync.Mutex // held while it is asked
	ask     *os.File
	answers *os.File
	decoder *json.Decoder // of answers
}

// sum asks; a process that has ended meanwhile is started again, once.
func (p *passwords) sum(q users.Sum) (sum []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 2 {
		if sum, err = p.try(q); err == nil {
			return sum, nil
		}
		p.end()
	}
	p.log.Error("passwords are hashed beside packets, which may wait for it", "err", err)
	return nil, err
}

func (p *passwords) try(q users.Sum) (sum []byte, err error) {
	if err := p.start(); err != nil {
		return nil, err
	}
	until := time.Now().Add(sumsTime)
	if err := errors.Join(p.ask.SetDeadline(until), p.answers.SetDeadline(until)); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(p.ask).Encode(q); err != nil {
		return nil, err
	}
	if err := p.decoder.Decode(&sum); err != nil {
		return nil, fmt.Errorf("the process that hashes passwords gave no answer: %w", err)
	}
	return sum, nil
}

// begin starts it ahead of the first question.
func (p *passwords) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.start(); err != nil {
		p.log.Error("start the process that hashes passwords", "err", err)
	}
}

// start starts the process where none runs. It ends by itself when nobody can ask any more, as after our death.
func (p *passwords) start() error {
	if p.closed.Load() {
		return os.ErrClosed
	}
	if p.process.Load() != nil {
		return nil
	}
	questions, ask, err := os.Pipe()
	if err != nil {
		return err
	}
	defer questions.Close()
	answers, answer, err := os.Pipe()
	if err != nil {
		return errors.Join(err, ask.Close())
	}
	defer answer.Close()
	cmd := exec.Command(p.exe, users.SumCommand)
	cmd.Args[0] = "mailweir"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = questions, answer, os.Stderr
	cmd.Env = []string{"GOMAXPROCS=1"}
	if err := startNice(cmd, sumsNice, sumsMemory); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", p.exe, err), ask.Close(), answers.Close())
	}
	p.ask, p.answers, p.decoder = ask, answers, json.NewDecoder(answers)
	p.process.Store(cmd.Process)
	return nil
}

// end ends the process, whatever it does; mu is held.
func (p *passwords) end() {
	process := p.process.Swap(nil)
	if process == nil {
		return
	}
	process.Kill()
	go process.Wait() // who waits for a disk that hangs is gone later
	p.ask.Close()
	p.answers.Close()
}

// close ends it, and whoever waits for an answer.
func (p *passwords) close() {
	p.closed.Store(true)
	if process := p.process.Load(); process != nil {
		process.Kill()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}
