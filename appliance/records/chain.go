package records

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Found says what a Chain found of its earlier life.
type Found uint8

// What can be found. Unknown is the zero value and never returned.
const (
	FoundUnknown  Found = iota
	FoundNothing        // the first start on this data directory
	FoundClosed         // a clean stop
	FoundKilled         // the process died and the machine did not: no number is missing, but what was not sent yet is lost
	FoundPowerCut       // the machine died: numbers of the last seconds may be given out a second time
	FoundDamaged        // the state was unreadable and was put aside: numbers begin at 1 again
)

// Past is what a Chain found when it was opened.
type Past struct {
	How     Found
	Last    uint64 // the last number that was given, as far as is known; 0 where there was none
	Resumed bool   // the last record was found in the spool or the journal, and the state did not know it
	Spooled uint64 // the last number that is in the spool or was sent from it; 0 where there is no spool
}

// Health is the entry that tells the collectors, false where there is nothing to tell.
func (p Past) Health(now time.Time) (Entry, bool) {
	f := HealthFacts{Time: now, What: "chain_restart"}
	spool := p.Spooled > 0
	switch p.How {
	case FoundKilled:
		f.Detail = fmt.Sprintf("the process before this one did not stop cleanly; the last number written is %d and the chain goes on from it without a gap", p.Last)
		if !spool {
			f.Detail += ", but records that were numbered and not sent to a collector yet are missing there"
		}
	case FoundPowerCut:
		f.TwiceAfter = p.Last
		f.Detail = fmt.Sprintf("the machine stopped without warning; the last number on the disk is %d and the chain goes on from it", p.Last)
		if spool {
			f.Detail += "; what happened in the second before may be missing, and if the disk had not taken records before that, all of those: collectors may have some of them from memory, and the same numbers with others"
		} else if p.Resumed {
			f.Detail += "; what happened in the ten seconds before may be missing"
		} else {
			f.Detail += ", numbers of the half minute after it may occur twice, and records that were not sent to a collector yet are missing there"
		}
	case FoundDamaged:
		f.Detail = "the state of the chain was unreadable and was put aside; "
		if p.Resumed {
			f.Detail += fmt.Sprintf("the chain goes on from number %d, the last that was kept", p.Last)
		} else {
			f.Detail += "numbers begin at 1 again"
		}
	}
	if spool && p.Spooled < p.Last {
		if f.Detail == "" {
			f.Detail = fmt.Sprintf("the chain goes on from number %d", p.Last)
		}
		f.Count, f.FirstSeq, f.LastSeq = p.Last-p.Spooled, p.Spooled+1, p.Last
		f.Detail += "; the records of these numbers did not reach the spool and are missing"
	}
	return Health(f), f.Detail != ""
}

// Chain numbers records and links each to the one before. It is safe for concurrent use.
//
// Number and hash are written to the state file, with one pwrite for the records of one moment, without waiting for the disk:
// before anybody is given one of them, that survives kill -9 exactly, with a mirror in memory (OpenMirrored) also where the disk does not answer or takes nothing; without one records
// are made all the same then, and numbers may occur twice after a crash. After a power cut the file may be as old as the kernel's write-back makes it, about 30 s;
// then the spool knows better (Resume), since a record is on the disk there before a collector gets it (while the disk takes none collectors get them from memory: then numbers occur twice after a power cut), and without a collector the journal. Without either
// numbers occur twice then, with other events, and the HEALTH record of Found says so. Nothing is synced per record, to spare the flash.
type Chain struct {
	box   string
	boot  string
	found Past

	kept       *stateKeeper
	mirrorPath string // "": no mirror

	mu    sync.Mutex // held over each write, as long as a disk may take that does not hang; guards the two below
	first func([]Record)
	prev  string // hash of record seq, "" before the first

	facts  sync.Mutex // never held over a write, taken after mu; guards all below
	seq    uint64
	done   uint64 // the last record that was given away, and its hash
	head   string
	mode   string
	policy string
}

const (
	stateMagic = "mailweir-records-1"
	stateSize  = 256 // one write, within one page and one sector pair
	stateOpen  = "open"
	stateClean = "clean"
)

// OpenChain opens or makes the state file at path. box is the id of the box, as every record carries it.
func OpenChain(path, box string) (*Chain, error) { return OpenMirrored(path, "", box) }

// OpenMirrored is OpenChain with a second state file, which is to lie in memory (tmpfs): it knows the last number also where the disk did not take it before the process died. It counts within
// one boot, where it knows more than the file at path, and goes with a clean stop. mirror "": none.
func OpenMirrored(path, mirror, box string) (*Chain, error) {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without it every unclean stop counts as a power cut
	return openChain(path, mirror, box, strings.TrimSpace(string(boot)))
}

func openChain(path, mirror, box, boot string) (*Chain, error) {
	c := &Chain{box: box, boot: boot, mirrorPath: mirror, found: Past{How: FoundNothing}}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read the state of the record chain: %w", err)
	default:
		st, ok := parseState(string(data))
		switch {
		case !ok:
			c.found.How = FoundDamaged
			if err := os.Rename(path, path+".damaged-"+time.Now().UTC().Format("20060102T150405Z")); err != nil {
				return nil, fmt.Errorf("put the damaged state of the record chain aside: %w", err)
			}
		case st.how == stateClean:
			c.found.How = FoundClosed
		case boot != "" && st.boot == boot:
			c.found.How = FoundKilled
		default:
			c.found.How = FoundPowerCut
		}
		if ok {
			c.seq, c.prev, c.found.Last = st.seq, st.prev, st.seq
		}
	}
	c.recall()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the state of the record chain: %w", err)
	}
	c.kept = &stateKeeper{file: file, hangs: stateHangs}
	if mirror != "" {
		if f, err := os.OpenFile(mirror, os.O_RDWR|os.O_CREATE, 0o600); err == nil { // without it the disk is waited for
			c.kept.mirror = f
		}
	}
	c.done, c.head = c.seq, c.prev
	if err := c.save(c.seq, stateOpen); err != nil {
		return nil, errors.Join(fmt.Errorf("write the state of the record chain: %w", err), c.kept.file.Close())
	}
	return c, nil
}

// recall takes what only the mirror knows.
func (c *Chain) recall() {
	if c.mirrorPath == "" || c.boot == "" {
		return
	}
	data, err := os.ReadFile(c.mirrorPath)
	if err != nil {
		return // there was a clean stop, or another boot
	}
	if st, ok := parseState(string(data)); ok && st.boot == c.boot && st.seq > c.seq {
		c.seq, c.prev, c.found.Last, c.found.Resumed = st.seq, st.prev, st.seq, true
		if c.found.How != FoundDamaged {
			c.found.How = FoundKilled
		}
	}
}

// Found says what the chain found when it was opened.
func (c *Chain) Found() Past { return c.found }

// SetPolicy sets what every following record carries as mode and policy. Like Trouble and Seq it never waits for the disk.
func (c *Chain) SetPolicy(mode, policy string) {
	c.facts.Lock()
	defer c.facts.Unlock()
	c.mode, c.policy = mode, policy
}

// Before has f take all records before their numbers are written to the state and before anybody else has them, so that what the state
// knows was kept: a spool. It is set before the first record.
func (c *Chain) Before(f func([]Record)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first = f
}

// Resume goes on from a record that somebody else kept, a spool or a journal, if the state does not know it: the process died between the two, or
// the machine did before the state was on the disk, or the state was damaged. prev is the hash of record seq. It is called before
// the first record. It says how many numbers the state did not know.
func (c *Chain) Resume(seq uint64, prev string) (more uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.facts.Lock()
	defer c.facts.Unlock()
	if seq <= c.seq || len(prev) != 2*sha256.Size {
		return 0
	}
	more = seq - c.seq
	c.seq, c.prev = seq, prev
	c.done, c.head = seq, prev
	c.found.Last = seq
	c.found.Resumed = true
	return more
}

// Spooled notes the last number that is on the disk for the collectors, for Found; 0 where there is no spool.
func (c *Chain) Spooled(last uint64) { c.found.Spooled = last }

// Append makes the next record of e: AppendAll of one.
func (c *Chain) Append(e Entry, now time.Time) Record { return c.AppendAll([]Entry{e}, now)[0] }

// AppendAll makes the next records, of entries in their order. An entry without a time gets now. When the state cannot be
// written the records are made all the same, since telling matters more than numbering after a crash; Trouble tells.
func (c *Chain) AppendAll(entries []Entry, now time.Time) []Record {
	if len(entries) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.number(entries, now)
	if c.first != nil {
		c.first(made)
	}
	_ = c.save(made[len(made)-1].Seq, stateOpen) // Trouble tells
	c.facts.Lock()
	defer c.facts.Unlock()
	c.done, c.head = made[len(made)-1].Seq, c.prev
	return made
}

// number makes the records; c.mu is held.
func (c *Chain) number(entries []Entry, now time.Time) []Record {
	c.facts.Lock()
	seq, mode, policy := c.seq, c.mode, c.policy
	c.seq += uint64(len(entries))
	c.facts.Unlock()
	made := make([]Record, len(entries))
	for i, e := range entries {
		if e.Time.IsZero() {
			e.Time = now
		}
		if e.Mode == "" {
			e.Mode = mode
		}
		seq++
		made[i] = c.record(e, seq, policy)
	}
	return made
}

// aroundLine is what a line has at most beside box, parameters and text: priority, version, app name, kind, the sum of the text, blanks and a byte order mark.
const aroundLine = 128

func (c *Chain) record(e Entry, seq uint64, policy string) Record {
	event, err := uuid.NewV7()
	if err != nil {
		panic("records: no random numbers: " + err.Error())
	}
	r := Record{Kind: e.Kind, Severity: e.Severity, Time: e.Time.UTC().Truncate(time.Millisecond), Seq: seq, Box: c.box, Text: strings.TrimSpace(clean(e.Text))}
	const common = 384 // of what comes beside the entry's parameters
	b := make([]byte, 0, common+len(e.params))
	b = append(append(b, r.Kind...), ' ')
	b = append(r.Time.AppendFormat(b, timeLayout), ' ')
	r.data = len(b)
	p := params(append(b, dataBegin...)).
		number("seq", int64(seq)).
		add("prev", c.prev).
		add("box", c.box).
		add("event", event.String()).
		add("mode", e.Mode).
		add("policy", policy)
	p = append(p, e.params.fit(MaxLine-len(p)-len(hostName(r.Box))-len(r.Text)-aroundLine)...)
	if r.Text != "" {
		p = p.add("text_sum", textSum(r.Text))
	}
	r.canonical = append(p, dataEnd...)
	c.prev = r.HexHash()
	return r
}

// Trouble is how many writes of the state failed so far, and the last error, nil while writing works; also that the disk does not answer.
func (c *Chain) Trouble() (failed uint64, err error) { return c.kept.status() }

// Seq is the number of the last record, 0 before the first.
func (c *Chain) Seq() uint64 {
	c.facts.Lock()
	defer c.facts.Unlock()
	return c.seq
}

// Head is the number and the hash of the last record that was given away, 0 and "" before the first. Like Seq it never waits for the disk.
func (c *Chain) Head() (seq uint64, hash string) {
	c.facts.Lock()
	defer c.facts.Unlock()
	return c.done, c.head
}

// Close notes a clean stop and waits for the disk. The chain is not used afterwards.
func (c *Chain) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.save(c.Seq(), stateClean) // which close tells of, when it is written
	err := c.kept.close()
	if err == nil && c.kept.mirror != nil {
		err = os.Remove(c.mirrorPath)
	}
	if err != nil {
		return fmt.Errorf("close the record chain: %w", err)
	}
	return nil
}

// save overwrites the state in place. The file never grows, so a full disk does not stop it.
func (c *Chain) save(seq uint64, how string) error {
	prev, boot := c.prev, c.boot
	if prev == "" {
		prev = "-"
	}
	if boot == "" {
		boot = "-"
	}
	var state [stateSize]byte
	b := append(state[:0], stateMagic...)
	b = strconv.AppendUint(append(b, ' '), seq, 10)
	for _, field := range [...]string{prev, how, boot} {
		b = append(append(b, ' '), field...)
	}
	b = append(b, ' ')
	b = hex.AppendEncode(b, binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)))
	for len(b) < stateSize-1 {
		b = append(b, ' ')
	}
	state[stateSize-1] = '\n'
	return c.kept.keep(state)
}

// ReadState is the number and the hash of the last record that a state file knows.
func ReadState(path string) (seq uint64, hash string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, "", err
	}
	st, ok := parseState(string(data))
	if !ok {
		return 0, "", fmt.Errorf("%s: not the state of a record chain", path)
	}
	return st.seq, st.prev, nil
}

// state is what a state file says.
type state struct {
	seq             uint64
	prev, how, boot string
}

func parseState(s string) (st state, ok bool) {
	f := strings.Fields(s)
	if len(s) != stateSize || len(f) != 6 || f[0] != stateMagic {
		return state{}, false
	}
	body := strings.Join(f[:5], " ") + " "
	if fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) != f[5] {
		return state{}, false
	}
	seq, err := strconv.ParseUint(f[1], 10, 64)
	if hash, herr := hex.DecodeString(f[2]); err != nil || (f[2] == "-") != (seq == 0) || seq > 0 && (herr != nil || len(hash) != 32) {
		return state{}, false
	}
	if st = (state{seq: seq, how: f[3], boot: f[4]}); seq > 0 {
		st.prev = f[2]
	}
	return st, true
}
