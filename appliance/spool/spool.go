// Package spool keeps records on the disk until every collector has them.
//
// The spool is a directory of segments: files of lines, to which is only ever appended. A line is the CRC-32C of what follows (eight
// hexadecimal digits), a space, the record as it goes to the collectors (RFC 5424), and a line feed; so that it can be read without us.
// A segment begins with a line `# after SEQ HASH`, the number and the hash of the record before it, and when it is full it ends with a line
// `# holds ...`, so that a start need not read it. A segment's name is the lowest number that it may hold.
//
//	append -> write (survives kill -9) -> fdatasync, once in SyncEvery -> readers see it (survives a power cut)
//
// Each reader, one for each collector, has its own position: all records up to there need not be sent to it again. Positions
// are written once a second and never run ahead of what was acknowledged, so after a crash some records are sent
// twice and none is missing. What all readers are past is deleted.
//
// The spool never takes more than Options.Limit of the disk. When it is full the oldest SESSION records go first; when there are none any more,
// of all others but DECISION, STAGE and HEALTH; and those last. What is older than its retention goes, too. Options.OnLoss says which
// numbers went before everybody had them; those that nothing says of, since a process died meanwhile or a file is damaged, are looked for after a start, and said then.
//
// A file that cannot be read when the spool is opened is set aside under another name (*.unreadable), for somebody to look at. It counts towards the limit, goes before any record
// when there is no room, and in any case when the shorter retention has passed since it was last written.
//
// A disk that takes nothing stops nobody: records wait in memory, as many as MemoryRecords, are readable from there, and are written as soon as the disk
// takes them. What a failed fdatasync may have dropped (after an error the kernel forgets what it could not write) is written anew, to another file.
// One that does not answer for Options.Hangs counts as such a disk until it does: nobody waits for it longer but those whose work it is (Run, Open, Reader, Only, Close), and
// whoever asks how the spool stands, or reads from memory, never waits at all.
package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/records"
)

// Options say how a spool is kept. Zero values of the later fields mean the defaults stated with them.
type Options struct {
	Dir      string        // made if it is not there
	Limit    int64         // bytes; at least 1 MiB
	Facility int           // of the lines, 0 to 23
	After    uint64        // the last number that was ever given, as the chain's state has it
	Sessions time.Duration // SESSION records older than that go
	Records  time.Duration // and all others older than that

	Log       *slog.Logger
	Now       func() time.Time
	Sound     func(time.Time) bool                // whether the clock can be trusted: otherwise nothing goes for its age; nil: always
	SyncEvery time.Duration                       // 1 s
	OnLoss    func(Loss)                          // must not block, nor call back
	OnFault   func(error)                         // the disk does not take records; nil: it does again. Must not block, nor call back
	OnHang    func(took time.Duration, over bool) // the disk has not answered for so long; over: it does again. Must not block, nor call back
	Hangs     time.Duration                       // how long it may take for one thing; 5 s
	OnUnsaved func(error)                         // the disk does not take the readers' positions; nil: it does again. Must not block, nor call back
	OnDamage  func(error)                         // a file could not be read when the spool was opened, and was set aside. Must not block, nor call back
	OnRemoved func(Aside, string)                 // a file that was set aside went, and why; or why it cannot go. Must not block, nor call back

	create   func(path string) (file, error) // tests put a disk with faults here
	syncDir  func(dir string) error          // and here
	patience time.Duration                   // of Append with a disk that is slow; 100 ms
}

// file is the part of an os.File that a segment needs while it is written.
type file interface {
	Write([]byte) (int, error)
	Sync() error
	Truncate(size int64) error
	Seek(offset int64, whence int) (int64, error)
	Close() error
}

const (
	minLimit      = 1 << 20
	maxSegment    = 4 << 20
	segmentsAtAll = 16                // the limit is so many segments, unless they would be larger than maxSegment
	rotateAfter   = time.Hour         // a segment takes records for so long at most, so that what is old can go
	retryEvery    = time.Second       // between two attempts to write when the disk takes nothing
	unsyncedMax   = 4 * MemoryRecords // of which the disk has not said yet that it has them, while it answers: more have it asked at once
	saveEvery     = time.Second       // positions
	expireEvery   = time.Minute
	patience      = 100 * time.Millisecond
	tellEvery     = 10 * time.Second // of what memory has no room for
)

// MemoryRecords is how many records wait in memory while the disk takes nothing, about 10 MB.
const MemoryRecords = 8192

// Spool is a directory of records. It is safe for concurrent use; Append has one caller at a time, as the chain has.
type Spool struct {
	opt  Options
	wake chan struct{} // holds a value when there is something to sync

	limit   atomic.Int64
	syncing sync.Mutex // held over fdatasync, taken before disk
	disk    sync.Mutex // held by who changes files, however long that takes; taken before mu. What files there are, and what is known of each, changes under both: see segment
	holder  *wait      // who holds disk

	mu          sync.Mutex // never held over the disk; guards all below
	facility    int
	segments    []*segment // in the order of their numbers; the last is the one that is written to. Changed under disk, too
	positions   map[string]*position
	leaving     map[string]*position // that were forgotten while somebody used them
	wanted      []string             // readers that Only was to keep, and who came since: it may have to wait for the disk meanwhile
	aside       []Aside              // the oldest first. Changed under disk, too
	owed        []owed               // losses that were told, and of which no record has said so yet. Changed under disk, too, but for owed.said
	found       uint64               // the last number that was there when the spool was opened
	looks       bool                 // what was there then is not looked through yet, see stateGaps; what was told meanwhile is in said
	said        []records.Ranges
	open        int           // readers that are read from
	last        uint64        // the last record
	lastHash    string        // and its hash, "" where it is not known
	durable     uint64        // records up to here are on the disk
	written     uint64        // up to here they were given to it
	given       uint64        // and up to here they are being given to it
	tail        []Item        // those after durable
	gives       chan struct{} // closed when who gives the disk what it has not got is done; nil: nobody does
	givesSince  time.Time
	dropped     Loss // what memory had no room for and nobody was told of yet
	toldDropped time.Time
	unsaved     error // why the disk does not take the positions; nil while it does
	unsynced    bool  // the last fsync of positions failed
	fault       error // why the disk takes nothing; nil while it does
	recovers    bool  // it took something since
	retryAt     time.Time
	waits       map[*wait]bool
	hung        time.Time     // since when the disk has not answered; zero: it does
	stuck       bool          // and it is not only that it cannot be read
	waited      bool          // there were readers in the life before this one
	changed     chan struct{} // closed when durable moves, and when the disk fails or hangs
	faults      uint64
	lost        map[string]uint64
	told        []func() // callbacks that are due once mu is free

	telling sync.Mutex // held over those, so that they come in their order
}

// Item is a record and its line, which nobody writes to.
type Item struct {
	Seq  uint64
	Line []byte
	kind class
	at   int64 // milliseconds since 1970
	hash string
}

// class is what goes when the spool is full: the lower ones first.
type class uint8

const (
	sessions class = iota
	others
	decisions
	classes = 3
)

func classOf(k records.Kind) class {
	switch k {
	case records.KindSession:
		return sessions
	case records.KindDecision, records.KindStage, records.KindHealth:
		return decisions
	}
	return others
}

// Open opens or makes the spool. What is damaged, or cannot be read, is left out and said, and a directory that cannot be made is a fault like that of a
// disk that takes nothing: none of that is an error. An error is that of a name of a directory that nothing can be looked for in.
func Open(o Options) (*Spool, error) {
	o.Limit = max(o.Limit, minLimit)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sound == nil {
		o.Sound = func(time.Time) bool { return true }
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = time.Second
	}
	if o.OnLoss == nil {
		o.OnLoss = func(Loss) {}
	}
	if o.OnFault == nil {
		o.OnFault = func(error) {}
	}
	if o.OnHang == nil {
		o.OnHang = func(time.Duration, bool) {}
	}
	if o.Hangs == 0 {
		o.Hangs = hangs
	}
	if o.patience == 0 {
		o.patience = patience
	}
	if o.OnUnsaved == nil {
		o.OnUnsaved = func(error) {}
	}
	if o.OnDamage == nil {
		o.OnDamage = func(error) {}
	}
	if o.OnRemoved == nil {
		o.OnRemoved = func(Aside, string) {}
	}
	if o.create == nil {
		o.create = func(path string) (file, error) {
			return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		}
	}
	if o.syncDir == nil {
		o.syncDir = durable.SyncDir
	}
	s := &Spool{opt: o, facility: o.Facility, waits: make(map[*wait]bool), wake: make(chan struct{}, 1), positions: make(map[string]*position), leaving: make(map[string]*position), looks: true, changed: make(chan struct{}), lost: make(map[string]uint64)}
	s.limit.Store(o.Limit)
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("spool %s: %w", o.Dir, err)
	}
	s.mu.Lock()
	defer s.unlock()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		s.failed(err)
	}
	return s, nil
}

// load finds the segments and what they hold.
func (s *Spool) load() error {
	names, err := filepath.Glob(filepath.Join(s.opt.Dir, "*"+suffix))
	if err != nil {
		return err
	}
	slices.Sort(names) // of one length, so by number
	for _, name := range names {
		g, err := loadSegment(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			s.setAside(name, err)
			continue
		}
		if g.bad > 0 {
			s.opt.Log.Error("the spool has damaged lines; their records are missing", "file", name, "lines", g.bad)
		}
		if g.last <= s.last { // it was merged into the one before when the process died, or is empty
			s.sweep(name)
			continue
		}
		s.segments = append(s.segments, g)
		s.last, s.lastHash = g.last, g.lastHash
	}
	s.found = s.last
	s.setAsideBefore()
	s.owedBefore()
	tmps, _ := filepath.Glob(filepath.Join(s.opt.Dir, "*.tmp"))
	for _, name := range tmps {
		s.sweep(name)
	}
	readers, _ := filepath.Glob(filepath.Join(s.opt.Dir, positionPrefix+"*"))
	s.waited = len(readers) > 0
	if s.opt.After > s.last {
		s.last, s.lastHash = s.opt.After, ""
	}
	s.durable, s.written = s.last, s.last
	return nil
}

// sweep removes what a process that died left behind.
func (s *Spool) sweep(name string) {
	if err := os.Remove(name); err != nil {
		s.opt.Log.Error("what is left of a process that died cannot be removed from the spool", "err", err)
	}
}

// Last is the number and the hash of the last record that the disk has. hash is "" where it does not know; then the chain does.
func (s *Spool) Last() (seq uint64, hash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.lastHash
}

// Kept is the last number that is on the disk for those who read in the life before, 0 where nobody did; that of the chain's state may be higher.
func (s *Spool) Kept() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.segments); n > 0 && s.waited {
		return s.segments[n-1].last
	}
	return 0
}

// Configure changes what a reload may change. What is over a smaller limit goes within a second, in Run.
func (s *Spool) Configure(facility int, limit int64, sessions, records time.Duration) {
	s.mu.Lock()
	defer s.unlock()
	s.facility = facility
	s.limit.Store(max(limit, minLimit))
	s.opt.Sessions, s.opt.Records = sessions, records
}

func (s *Spool) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Limit is how much of the disk the spool takes at most.
func (s *Spool) Limit() int64 { return s.limit.Load() }

// Stat says how full the spool is.
type Stat struct {
	Bytes, Limit int64
	Records      int
	Oldest       time.Time     // of the records in it; zero where there is none
	Waiting      int           // records in memory of which the disk has not said that it has them
	Fault        error         // why the disk takes nothing, or does not answer
	Faults       uint64        // how often that began, since the spool was opened
	Hangs        time.Duration // for how long the disk has not answered; 0 while it does

	Aside      int   // files that could not be read and were set aside
	AsideBytes int64 // of Bytes

	Lost map[string]uint64 // records that went before every reader had them, since the spool was opened, by Loss.Why
}

// Stat says how full the spool is. It never waits for the disk.
func (s *Spool) Stat() Stat {
	s.mu.Lock()
	defer s.unlock()
	st := Stat{Bytes: s.bytes(), Limit: s.Limit(), Waiting: len(s.tail), Fault: s.fault, Hangs: s.hanging(), Lost: maps.Clone(s.lost), Aside: len(s.aside)}
	if st.Faults = s.faults; st.Hangs > 0 {
		st.Fault = hangError(st.Hangs)
	}
	for _, a := range s.aside {
		st.AsideBytes += a.Bytes
	}
	oldest := int64(0)
	st.Records = s.records()
	for _, g := range s.segments {
		for c := range g.n {
			if g.n[c] > 0 && (oldest == 0 || g.oldest[c] < oldest) {
				oldest = g.oldest[c]
			}
		}
	}
	if oldest > 0 {
		st.Oldest = time.UnixMilli(oldest).UTC()
	}
	return st
}

// records is how many the disk has; mu is held.
func (s *Spool) records() (n int) {
	for _, g := range s.segments {
		n += g.count()
	}
	return n
}

// bytes is what the spool takes of the disk; mu is held.
func (s *Spool) bytes() (sum int64) {
	for _, g := range s.segments {
		sum += g.size
	}
	for _, a := range s.aside {
		sum += a.Bytes
	}
	return sum + int64(len(s.positions))*positionSize
}
