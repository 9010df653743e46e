package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/web-admin/users"
)

// The real program hashes passwords for another: at a lower priority, one after the other, again after it was killed, and not beyond the other's end.
func TestPasswordsAreHashedByAProcessOfItsOwn(t *testing.T) {
	t.Parallel()
	bin := theProgram(t)
	var said bytes.Buffer
	p := &passwords{exe: bin, log: slog.New(slog.NewTextHandler(&said, nil))}
	defer p.close()
	p.begin()
	pid := func() int {
		if process := p.process.Load(); process != nil {
			return process.Pid
		}
		return 0
	}
	gone := func(pid int) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			state, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if _, after, ok := strings.Cut(string(state), ") "); !ok || after[0] == 'Z' {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d is still there", pid)
			}
		}
	}
	ask := func(n int) {
		t.Helper()
		q := users.Sum{Password: fmt.Appendf(nil, "password %d", n), Salt: []byte("0123456789abcdef"), Time: 2, Memory: 19 << 10, Threads: 1}
		sum, err := p.sum(q)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(sum, argon2.IDKey(q.Password, q.Salt, q.Time, q.Memory, q.Threads, 32)) {
			t.Errorf("%d: %x", n, sum)
		}
	}
	ask(1)
	first := pid()
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, first); err != nil || 20-nice != sumsNice { // the system call's own form, getpriority(2)
		t.Errorf("nice %d, %v", 20-nice, err)
	}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() { ask(n) })
	}
	wg.Wait()
	if pid() != first {
		t.Error("another process for each")
	}
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(first)
	ask(2)
	second := pid()
	if second == first || second == 0 {
		t.Errorf("%d after %d", second, first)
	}
	if said.Len() > 0 {
		t.Errorf("said %s", &said)
	}
	p.mu.Lock()
	p.ask.Close() // as the kernel does when we die
	p.mu.Unlock()
	gone(second)

	ask(3)
	third := pid()
	if err := unix.Kill(third, unix.SIGSTOP); err != nil { // who asks waits
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	go func() {
		_, err := p.sum(users.Sum{Salt: []byte("0123456789abcdef"), Time: 2, Memory: 19 << 10, Threads: 1})
		waits <- err
	}()
	for p.mu.TryLock() {
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	p.close()
	if err := <-waits; !errors.Is(err, os.ErrClosed) {
		t.Errorf("who waited at the end: %v", err)
	}
	gone(third)
	if !strings.Contains(said.String(), "passwords are hashed beside packets") {
		t.Errorf("said %q", &said)
	}
	none := &passwords{exe: filepath.Join(t.TempDir(), "none"), log: slog.New(slog.DiscardHandler)}
	none.begin()
	if _, err := none.sum(users.Sum{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a program: %v", err)
	}
}
