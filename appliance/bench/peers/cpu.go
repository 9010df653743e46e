package peers

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/bench/helper"
)

// tick is the unit of /proc (USER_HZ).
const tick = 10 * time.Millisecond

// processors is what was used of all of them up to a moment (/proc/stat).
type processors struct {
	at     time.Time
	busy   time.Duration // interrupts included, what others stole not
	user   time.Duration // of that, in programs and not in the kernel
	stolen time.Duration
	ours   time.Duration // of user, in this process and everything it started
}

func look() processors {
	p := processors{at: time.Now(), ours: oursInPrograms()}
	text, _ := os.ReadFile("/proc/stat") // without it all of it is 0
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			continue
		}
		switch d := time.Duration(n) * tick; i { // cpu user nice system idle iowait irq softirq steal; guests are in user already
		case 1, 2:
			p.user += d
			p.busy += d
		case 3, 6, 7:
			p.busy += d
		case 8:
			p.stolen += d
		}
	}
	return p
}

// oursInPrograms is the user time of this process, of all it has started, and of what those have. The kernel adds a
// process to its parent's children when it ends.
func oursInPrograms() time.Duration {
	var sum time.Duration
	for _, of := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(of, &u) == nil {
			sum += time.Duration(u.Utime.Nano())
		}
	}
	type process struct {
		parent string
		used   time.Duration
	}
	all := map[string]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// PID (NAME) STATE PARENT ...; a name may have anything in it
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
		f := strings.Fields(rest)
		if len(f) < 14 {
			continue
		}
		own, _ := strconv.ParseInt(f[11], 10, 64)
		children, _ := strconv.ParseInt(f[13], 10, 64)
		all[filepath.Base(filepath.Dir(file))] = process{f[1], time.Duration(own+children) * tick}
	}
	self := strconv.Itoa(os.Getpid())
	for pid, p := range all {
		for up := p.parent; pid != self && up != ""; up = all[up].parent {
			if up == self {
				sum += p.used
				break
			}
		}
	}
	return sum
}

// used is what was used of the processors in a while.
type used struct {
	took     time.Duration
	machine  time.Duration // by all of it but others' programs
	governor time.Duration
	foreign  float64 // processors in others' programs
	stolen   float64
}

// watch begins to measure; the result ends it. governor is a process, or 0.
func watch(governor int) func() used {
	before, was := look(), helper.CPUTime(governor)
	return func() used {
		after := look()
		took := after.at.Sub(before.at)
		others := max(0, after.user-before.user-(after.ours-before.ours))
		u := used{took: took, machine: after.busy - before.busy - others, foreign: others.Seconds() / took.Seconds(),
			stolen: (after.stolen - before.stolen).Seconds() / took.Seconds()}
		if governor != 0 {
			u.governor = helper.CPUTime(governor) - was
		}
		return u
	}
}

// quiet waits until the machine has little to do, but not long, and tells how many processors were busy at last.
func quiet(ctx context.Context) float64 {
	const look, most, little = 100 * time.Millisecond, 12, 0.15
	busy := 0.0
	for range most {
		end := watch(0)
		select {
		case <-ctx.Done():
			return busy
		case <-time.After(look):
		}
		u := end()
		busy = u.machine.Seconds()/u.took.Seconds() + u.foreign
		if busy <= little {
			break
		}
	}
	return busy
}
