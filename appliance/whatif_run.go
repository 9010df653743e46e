package appliance

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/journal"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// Bounds of a what-if that somebody asks a running box for. It is a process of its own, so that neither its garbage nor its end touches the
// one that judges packets: on one processor, with what nobody else wants of it, and the first to go when memory is short.
const (
	whatIfTime   = 2 * time.Minute
	whatIfMemory = 192 << 20 // of its heap; a quarter more ends it
	whatIfAnswer = 32 << 20  // bytes
	whatIfNice   = 19
)

// WhatIf tries a configuration, as text, on the last days of the journal, against the policy in force, which is the governor's and not what a file says that
// was not read yet; the answer is a WhatIfView. Who sends it may see less
// of the box than the box reads: the configuration names no files but the box's own, and what the process says goes to the log alone.
func (s *source) WhatIf(ctx context.Context, q webadmin.WhatIfQuestion) (json.RawMessage, error) {
	a := s.a
	box := a.cfg.Load()
	tried, err := config.Parse(filepath.Join(filepath.Dir(box.Path()), "config"), q.Config)
	if err == nil {
		if foreign := tried.Foreign(box); len(foreign) > 0 {
			err = foreign
		}
	}
	if err != nil {
		problems, ok := errors.AsType[config.Problems](err)
		if !ok {
			return nil, err
		}
		var wrong webadmin.WrongConfig
		for _, p := range problems {
			wrong = append(wrong, webadmin.ConfigProblem{Key: p.Key, Line: p.Line, Message: p.Message})
		}
		return nil, wrong
	}
	if a.journal == nil {
		return nil, webadmin.ErrNoJournal
	}
	key, err := a.triedKey(q)
	if err != nil {
		return nil, err
	}
	if q.Typed {
		if found := s.tried.find(key, a.now()); found != nil {
			return found, nil
		}
	}
	if err := s.trying.take(ctx, q.Who, a.now, q.Waits); err != nil {
		return nil, err
	}
	defer s.trying.end()
	if !q.Typed {
		s.audit(q.Who, "what_if", "journal", "", strconv.Itoa(q.Days)+" days")
	} else if s.tried.begins(q.Who, a.now()) {
		s.audit(q.Who, "what_if", "journal", "", strconv.Itoa(q.Days)+" days, as one types")
	}
	if key, err = a.triedKey(q); err != nil { // something else may be in force since it was somebody else's turn
		return nil, err
	}
	answer, err := a.tryApart(ctx, q)
	if err == nil {
		s.tried.keep(key, answer, a.now())
	}
	return answer, err
}

// triedKey tells a what-if from those that would answer something else.
func (a *Appliance) triedKey(q webadmin.WhatIfQuestion) (triedKey, error) {
	f, table, err := a.inForce()
	if err != nil {
		return triedKey{}, err
	}
	facts, err := json.Marshal(f)
	return sha256.Sum256(fmt.Appendf(nil, "%d %q %s %s %p", q.Days, q.Config, facts, fileState(f.List), table)), err
}

// tryApart runs it in a process of its own, which is killed when ctx ends.
func (a *Appliance) tryApart(ctx context.Context, q webadmin.WhatIfQuestion) (json.RawMessage, error) {
	ctx, end := context.WithTimeout(ctx, whatIfTime)
	defer end()
	facts, table, err := a.inForce()
	if err != nil {
		return nil, err
	}
	files, err := facts.files(table)
	defer closeAll(files)
	if err != nil {
		return nil, fmt.Errorf("start a what-if: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(journal.Dir(a.opt.DataDir))
	if err != nil {
		return nil, err
	}
	args := []string{"replay", "--journal", dir, "--config", "-", "--in-force", "/proc/self/fd/3", "--since", strconv.Itoa(q.Days) + "d", "--json"}
	passed, told := files, func() {}
	if q.Progress != nil {
		from, to, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("start a what-if: %w", err)
		}
		defer from.Close()
		defer to.Close()
		passed = append(slices.Clone(files), to)
		args = append(args, "--progress", fmt.Sprintf("/proc/self/fd/%d", 2+len(passed)))
		told = tellProgress(from, to, q.Progress)
	}
	cmd := exec.CommandContext(ctx, cmp.Or(a.opt.Executable, exe), args...)
	cmd.ExtraFiles = passed
	var answer, said limited
	answer.most, said.most = whatIfAnswer, 4<<10
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = filepath.Dir(a.cfg.Load().Path()), bytes.NewReader(q.Config), &answer, &said
	cmd.Env = []string{"GOMAXPROCS=1", "GOMEMLIMIT=" + strconv.Itoa(whatIfMemory), "TZ=UTC"}
	if err = startNice(cmd, whatIfNice, whatIfMemory*5/4); err == nil {
		err = cmd.Wait()
		told()
	} else {
		told()
		return nil, fmt.Errorf("start a what-if: %w", err)
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, webadmin.Refused{Field: "days", Message: fmt.Sprintf("it took longer than %v; take fewer days, or run mailweir replay on another machine", whatIfTime)}
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, a.endedEarly(err, said.String())
	case answer.over:
		return nil, webadmin.Refused{Field: "days", Message: "the answer is too long; take fewer days"}
	}
	return json.RawMessage(bytes.TrimSpace(answer.Bytes())), nil
}

// tellProgress tells what a process says on a pipe of how far it is, until nobody has its other end any more. The process has that, and so have we, until end is called, which returns when all is told.
func tellProgress(from io.Reader, ours io.Closer, tell func(webadmin.WhatIfProgress)) (end func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(from)
		for lines.Scan() {
			var p webadmin.WhatIfProgress
			if json.Unmarshal(lines.Bytes(), &p) == nil { // a line that was cut short by its end is none
				tell(p)
			}
		}
	}()
	return func() {
		ours.Close()
		<-done
	}
}

// endedEarly logs what a what-if said when it failed, which may quote what it read, and gives whoever asked for it a reason that does not.
func (a *Appliance) endedEarly(err error, said string) error {
	a.log.Error("a what-if ended early", "err", err, "said", strings.TrimSpace(said))
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case !ok:
		return errors.New("it could not be run")
	case strings.Contains(said, "out of memory"), strings.Contains(said, "cannot allocate memory"), exit.ExitCode() == -1: // ended by a signal
		return webadmin.Refused{Field: "days", Message: "it needed more memory than it may have; take fewer days, or run mailweir replay on another machine"}
	case exit.ExitCode() == 2 && !strings.Contains(said, "goroutine "): // as the contract of the command line has it; and Go's for a fault of the program
		return webadmin.Refused{Field: "config", Message: "the box's list of subscribers cannot be read under this configuration (does it lack a plan that the list names?), or not at all; the box's log says why"}
	}
	return errors.New("it ended early")
}

// limited keeps the first bytes that are written to it.
type limited struct {
	bytes.Buffer
	most int
	over bool
}

func (l *limited) Write(b []byte) (int, error) {
	if room := l.most - l.Len(); len(b) > room {
		l.over = true
		l.Buffer.Write(b[:room])
		return len(b), nil
	}
	return l.Buffer.Write(b)
}
