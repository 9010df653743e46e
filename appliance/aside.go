package appliance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// asideFile has what people did while nothing was governed: who governs owns the chain of records, and makes AUDIT records of it.
const asideFile = "recovery.audit"

// asideMost bounds it. One line may go beyond, which says that it is full.
const asideMost = 256 << 10

// aside writes it, a line of JSON for each.
type aside struct {
	path string
	log  *slog.Logger

	mu sync.Mutex // one line at a time
}

func newAside(dir string, log *slog.Logger) *aside {
	return &aside{path: filepath.Join(dir, asideFile), log: log}
}

// add does not wait for the disk: a power cut may take the last seconds.
func (s *aside) add(f records.AuditFacts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(f); err != nil {
		s.log.Error("what was done is in no record", "what", f.What, "who", f.Who, "err", err)
	}
}

func (s *aside) write(f records.AuditFacts) error {
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	at, err := out.Stat()
	if err != nil {
		return err
	}
	full := at.Size()+int64(len(line)) >= asideMost
	if full {
		if at.Size() >= asideMost {
			return fmt.Errorf("%s is full", s.path)
		}
		pad := bytes.Repeat([]byte(" "), int(asideMost-at.Size()))
		if line, err = json.Marshal(records.AuditFacts{Time: f.Time, Who: "mailweir", What: "audit_full", Object: asideFile, After: "what was done from then on is in no record"}); err != nil {
			return err
		}
		line = append(line, pad...) // it stays full
	}
	_, err = out.Write(append(line, '\n'))
	return err
}

// tellAside makes AUDIT records of what was done before this life, while nothing was governed.
func (a *Appliance) tellAside() {
	path := a.at(asideFile)
	text, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	bad := 0
	for line := range bytes.Lines(text) {
		var f records.AuditFacts
		if json.Unmarshal(line, &f) != nil {
			bad++ // the power was cut while it was written
			continue
		}
		then := "at " + f.Time.UTC().Format(time.RFC3339) + ", while nothing was governed"
		if f.After != "" {
			then = f.After + "; " + then
		}
		f.Time, f.After = a.now(), then
		a.writer.Say(records.Audit(f))
	}
	if err == nil {
		err = errors.Join(os.Remove(path), durable.SyncDir(a.opt.DataDir))
	}
	if err != nil || bad > 0 {
		a.log.Error("what was done while nothing was governed", "lines_that_cannot_be_read", bad, "err", err)
	}
}

// auditFacts are those of something that was done to the web admin itself.
func auditFacts(e webadmin.AuditEvent, now time.Time) records.AuditFacts {
	return records.AuditFacts{Time: now, Who: e.Who, From: e.From, What: e.What, Object: e.Object, Before: e.Before, After: e.After}
}
