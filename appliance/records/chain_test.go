package records

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// linked checks that records follow each other: numbers without a gap, and each with the hash of the one before, computed from
// the line as a collector has it.
func linked(t *testing.T, rs []Record) {
	t.Helper()
	for i := 1; i < len(rs); i++ {
		before := string(rs[i-1].AppendLine(nil, localFour))
		msg, params := parsed(t, []byte(before))
		data := before[strings.Index(before, "["):]
		if msg.Message != nil {
			data = strings.TrimSuffix(data, " "+*msg.Message)
		}
		sum := sha256.Sum256([]byte(*msg.MsgID + " " + strings.Fields(before)[1] + " " + data))
		if want := hex.EncodeToString(sum[:]); rs[i].Value("prev") != want {
			t.Fatalf("record %d: prev %s, want %s of\n%s", rs[i].Seq, rs[i].Value("prev"), want, before)
		}
		if rs[i].Seq != rs[i-1].Seq+1 || params["event"] == rs[i].Value("event") {
			t.Fatalf("record %d follows %d", rs[i].Seq, rs[i-1].Seq)
		}
	}
}

func TestChainGoesOnAfterEveryKindOfStop(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "records.state")
	var all []Record
	e := samples()["decision"]
	for _, step := range []struct {
		why   string
		boot  string
		found Found
		close bool
	}{
		{"the first start", "boot-1", FoundNothing, true},
		{"after a clean stop", "boot-1", FoundClosed, false},
		{"after kill -9", "boot-1", FoundKilled, false},
		{"after a power cut that lost nothing", "boot-2", FoundPowerCut, true},
		{"after a clean stop and a reboot", "boot-3", FoundClosed, false},
		{"where boots cannot be told apart", "", FoundPowerCut, true},
	} {
		c, err := openChain(path, "", "box-1", step.boot)
		if err != nil {
			t.Fatalf("%s: %v", step.why, err)
		}
		if c.Found().How != step.found {
			t.Errorf("%s: found %v, want %v", step.why, c.Found(), step.found)
		}
		for range 3 {
			all = append(all, c.Append(e, at))
		}
		if step.close {
			if err := c.Close(); err != nil {
				t.Errorf("%s: %v", step.why, err)
			}
		}
	}
	linked(t, all)
	if len(all) != 18 || all[17].Seq != 18 || all[0].Value("prev") != "" {
		t.Errorf("%d records, the last is %d", len(all), all[17].Seq)
	}
}

func TestDamagedStateIsPutAside(t *testing.T) {
	t.Parallel()
	good := func() []byte {
		path := filepath.Join(t.TempDir(), "records.state")
		c, err := OpenChain(path, "box-1")
		if err != nil {
			t.Fatal(err)
		}
		c.Append(samples()["audit"], at)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}()
	flipped := []byte(string(good))
	flipped[20] ^= 1
	for why, data := range map[string][]byte{"empty": {}, "cut short": good[:100], "one bit flipped": flipped, "zeroes": make([]byte, stateSize)} {
		dir := t.TempDir()
		path := filepath.Join(dir, "records.state")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenChain(path, "box-1")
		if err != nil || c.Found().How != FoundDamaged {
			t.Fatalf("%s: %v, %v", why, c.Found(), err)
		}
		if r := c.Append(samples()["audit"], at); r.Seq != 1 {
			t.Errorf("%s: first number %d", why, r.Seq)
		}
		if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != 1 {
			t.Errorf("%s: put aside: %v", why, aside)
		}
		if e, tell := c.Found().Health(at); !tell || e.Kind != KindHealth {
			t.Errorf("%s: nothing to tell", why)
		}
	}
}

func TestRecordsAreMadeWhenTheStateCannotBeWritten(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	c.kept.file.Close()
	a, b := c.Append(samples()["audit"], at), c.Append(samples()["audit"], at)
	linked(t, []Record{a, b})
	if n, err := c.Trouble(); err == nil || n != 2 {
		t.Errorf("%d failures, %v", n, err)
	}
}

func TestWriterTellsWhatItHadToDrop(t *testing.T) {
	t.Parallel()
	var got []Record
	w := NewWriter(newChain(t), 4, func() time.Time { return at }, func(r Record) { got = append(got, r) })
	for i := range 10 {
		if ok := w.Say(samples()["audit"]); ok != (i < 4) {
			t.Errorf("entry %d: %v", i, ok)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	linked(t, got)
	told := 0
	for _, r := range got {
		if r.Value("what") == "record_loss" && r.Value("count") == "6" && strings.Contains(r.Value("detail"), "AUDIT 6") {
			told++
		}
	}
	if len(got) != 5 || told != 1 || w.Lost() != 6 {
		t.Errorf("%d records, lost %d, told %d times", len(got), w.Lost(), told)
	}
}

// A flood of sessions and decisions costs none of the other records.
func TestWriterKeepsRoomForWhatIsRare(t *testing.T) {
	t.Parallel()
	seen := map[Kind]int{}
	w := NewWriter(newChain(t), 64, func() time.Time { return at }, func(r Record) { seen[r.Kind]++ })
	for i := range 100 {
		for _, flood := range []string{"session", "decision"} {
			if ok := w.Say(samples()[flood]); ok != (2*i < 56) {
				t.Fatalf("%d of a flood: %v", 2*i, ok)
			}
		}
	}
	for i := range 9 {
		for _, rare := range []string{"audit", "config", "health", "stage"} {
			if ok := w.Say(samples()[rare]); ok != (i < 2) {
				t.Errorf("%s: %v", rare, ok)
			}
		}
	}
	if w.Say(samples()["session"]) || w.Lost() != 200-56+7*4+1 {
		t.Errorf("%d lost", w.Lost())
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[Kind]int{KindSession: 28, KindDecision: 28, KindAudit: 2, KindConfig: 2, KindHealth: 3, KindStage: 2} {
		if seen[kind] != want {
			t.Errorf("%d of %s, want %d", seen[kind], kind, want)
		}
	}
}

func TestWriterKeepsTheOrderOfManySpeakers(t *testing.T) {
	t.Parallel()
	ring := NewRing(1000)
	w := NewWriter(newChain(t), 1000, func() time.Time { return at }, ring.Add)
	ctx, cancel := context.WithCancel(context.Background())
	var running, speakers sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for range 8 {
		speakers.Go(func() {
			for range 50 {
				w.Say(samples()["health"])
			}
		})
	}
	speakers.Wait()
	cancel()
	running.Wait()
	all := ring.Select(1000, nil)
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	if len(all) != 400 {
		t.Errorf("%d records", len(all))
	}
	linked(t, all)
}

func TestRingKeepsTheNewest(t *testing.T) {
	t.Parallel()
	g := NewRing(3)
	if got := g.Select(10, nil); len(got) != 0 {
		t.Errorf("an empty ring has %d", len(got))
	}
	for seq := range uint64(5) {
		g.Add(Record{Seq: seq + 1})
	}
	for _, row := range []struct {
		why   string
		limit int
		keep  func(*Record) bool
		want  []uint64
	}{
		{"all", 10, nil, []uint64{5, 4, 3}},
		{"two", 2, nil, []uint64{5, 4}},
		{"the page after 4", 10, func(r *Record) bool { return r.Seq < 4 }, []uint64{3}},
	} {
		got := g.Select(row.limit, row.keep)
		var seqs []uint64
		for _, r := range got {
			seqs = append(seqs, r.Seq)
		}
		if len(seqs) != len(row.want) {
			t.Errorf("%s: %v", row.why, seqs)
			continue
		}
		for i := range seqs {
			if seqs[i] != row.want[i] {
				t.Errorf("%s: %v", row.why, seqs)
			}
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	c, err := OpenChain(b.TempDir()+"/records.state", "box-1")
	if err != nil {
		b.Fatal(err)
	}
	e := samples()["session"]
	b.ReportAllocs()
	var line []byte
	for b.Loop() {
		r := c.Append(e, at)
		line = r.AppendLine(line[:0], localFour)
	}
}

// stuckDisk is a state file whose writes hang until let go.
type stuckDisk struct {
	stateFile
	hangs chan struct{} // closed once a write hangs
	let   chan struct{}
}

func (d *stuckDisk) WriteAt(b []byte, at int64) (int, error) {
	close(d.hangs)
	<-d.let
	return d.stateFile.WriteAt(b, at)
}

// While a write to the state hangs, everything that does not make a record answers.
func TestNobodyElseWaitsForAHungDisk(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	first := c.Append(samples()["audit"], at)
	disk := &stuckDisk{stateFile: c.kept.file, hangs: make(chan struct{}), let: make(chan struct{})}
	c.kept.file = disk
	var second Record
	var writer sync.WaitGroup
	writer.Go(func() { second = c.Append(samples()["audit"], at) })
	<-disk.hangs
	asked := make(chan uint64)
	go func() {
		c.SetPolicy("enforce", "fedcba9876543210")
		if failed, err := c.Trouble(); failed != 0 || err != nil {
			t.Errorf("%d failures, %v", failed, err)
		}
		asked <- c.Seq()
	}()
	select {
	case seq := <-asked:
		if seq != 2 {
			t.Errorf("the last number is %d", seq)
		}
	case <-time.After(10 * time.Second):
		t.Error("SetPolicy, Trouble or Seq waits for the disk")
		close(disk.let)
		<-asked
		return
	}
	close(disk.let)
	writer.Wait()
	c.kept.file = disk.stateFile
	third := c.Append(samples()["audit"], at)
	linked(t, []Record{first, second, third})
	if second.Value("policy") != "0123456789abcdef" || third.Value("policy") != "fedcba9876543210" || third.Value("mode") != "enforce" {
		t.Errorf("policy %s, then %s", second.Value("policy"), third.Value("policy"))
	}
}

func TestWhatARestartSaysIsTrue(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "records.state")
	for _, step := range []struct {
		why, boot string
		close     bool
		says      []string // of what was found; nothing: no HEALTH record
	}{
		{why: "the first start", boot: "1"},
		{why: "kill -9", boot: "1", says: []string{"did not stop cleanly", "the last number written is 3", "without a gap", "not sent to a collector yet are missing there"}, close: true},
		{why: "a clean stop", boot: "1"},
		{why: "a power cut", boot: "2", says: []string{"the machine stopped", "the last number on the disk is 9", "may occur twice", "not sent to a collector yet are missing there"}},
	} {
		c, err := openChain(path, "", "box-1", step.boot)
		if err != nil {
			t.Fatal(err)
		}
		e, tell := c.Found().Health(at)
		if tell != (len(step.says) > 0) {
			t.Errorf("%s: tells %v", step.why, tell)
		}
		for _, part := range step.says {
			if !strings.Contains(e.Text, part) {
				t.Errorf("%s: %q does not say %q", step.why, e.Text, part)
			}
		}
		if tell && e.Severity != Warning {
			t.Errorf("%s: severity %d", step.why, e.Severity)
		}
		for range 3 {
			c.Append(samples()["audit"], at)
		}
		if step.close {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// The head is the last record that anybody has, in this life and the next.
func TestTheHeadIsTheLastRecord(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	c, err := OpenChain(path, "box-1")
	if err != nil {
		t.Fatal(err)
	}
	if seq, hash := c.Head(); seq != 0 || hash != "" {
		t.Errorf("before the first: %d %s", seq, hash)
	}
	c.Before(func(made []Record) {
		if seq, _ := c.Head(); seq >= made[0].Seq {
			t.Errorf("record %d is the head before anybody has it", seq)
		}
	})
	r := c.AppendAll([]Entry{samples()["audit"], samples()["decision"]}, at)[1]
	for life := range 2 {
		if seq, hash := c.Head(); seq != r.Seq || hash != r.HexHash() {
			t.Errorf("life %d: %d %s, want %d %s", life, seq, hash, r.Seq, r.HexHash())
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if c, err = OpenChain(path, "box-1"); err != nil {
			t.Fatal(err)
		}
	}
	c.Resume(7, r.HexHash())
	if seq, hash := c.Head(); seq != 7 || hash != r.HexHash() {
		t.Errorf("resumed: %d %s", seq, hash)
	}
}

// After a power cut numbers may come twice, which the record of it says in a form that can be read; after the death of the process alone none does.
func TestAPowerCutSaysWhichNumbersMayComeTwice(t *testing.T) {
	t.Parallel()
	for how, after := range map[Found]string{FoundPowerCut: "7", FoundKilled: ""} {
		c, err := OpenChain(filepath.Join(t.TempDir(), "records.state"), "box-1")
		if err != nil {
			t.Fatal(err)
		}
		e, told := Past{How: how, Last: 7, Spooled: 7}.Health(at)
		if r := c.Append(e, at); !told || r.Value("what") != "chain_restart" || r.Value("twice_after") != after {
			t.Errorf("%v: %v, %s", how, told, r.AppendLine(nil, 20))
		}
	}
}

// No state, on the disk or in memory, knows a number before the spool has its record: after a crash between the two it would be missing for good.
func TestTheSpoolHasARecordBeforeTheStateKnowsIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk, mirror := filepath.Join(dir, "records.state"), filepath.Join(dir, "mirror")
	c, err := OpenMirrored(disk, mirror, "box-1")
	if err != nil {
		t.Fatal(err)
	}
	knows := func(path string) uint64 {
		seq, _, err := ReadState(path)
		if err != nil {
			t.Error(err)
		}
		return seq
	}
	var spooled uint64
	c.Before(func(made []Record) {
		for _, path := range []string{disk, mirror} {
			if seq := knows(path); seq > spooled {
				t.Errorf("%s knows %d, and the spool %d", path, seq, spooled)
			}
		}
		spooled = made[len(made)-1].Seq
	})
	for range 3 {
		c.AppendAll([]Entry{samples()["audit"], samples()["decision"]}, at)
		if seq := knows(mirror); seq != spooled { // the disk is not waited for as long as it may take
			t.Errorf("behind record %d it knows %d", spooled, seq)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
