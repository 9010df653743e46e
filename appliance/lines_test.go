package appliance

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// network is a directory, what tells it who is where, and an access server.
type network struct {
	*lines
	t     *testing.T
	dir   string
	moves atomic.Int32 // how often somebody was told that addresses moved
}

const nasSecret = "a secret for tests"

const twoLines = "subscriber,plan,prefixes,circuits\nhome,residential,,acct-home 02:00:5e:00:53:01\nserver,mailserver,127.66.0.1 100.64.0.1,\n"

func newNetwork(t *testing.T, list string) *network {
	t.Helper()
	table, err := subscriber.Parse("subscribers.csv", strings.NewReader(list), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{t: t, dir: t.TempDir()}
	h := &health{say: func(records.Entry) bool { return true }, now: time.Now}
	n.lines = &lines{dir: subscriber.NewDirectory(table), now: time.Now, log: slog.New(slog.DiscardHandler), health: h, moved: func() { n.moves.Add(1) }}
	n.file("radius.secret", nasSecret+"\n")
	return n
}

// running begins with c, as a box does that runs it already.
func (n *network) running(c *config.Config) {
	n.t.Helper()
	n.must(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := background(ctx, n.Run)
	n.t.Cleanup(func() { cancel(); ended() })
	n.await("Run", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.work != nil })
}

func (n *network) file(name, text string) string {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// config is one with identity as given, in YAML flow style.
func (n *network) config(identity string) *config.Config {
	n.t.Helper()
	c, err := config.Load(n.file("mailweir.yaml", "identity: {"+identity+"}\n"))
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// radiusOn may name port 0, which no file may: any that is free.
func (n *network) radiusOn(at string) *config.Config {
	n.t.Helper()
	c := n.config(`radius: {listen: "127.0.0.1:1813", secret_file: radius.secret}`)
	c.Identity.RADIUS.Listen = at
	return c
}

func (n *network) must(c *config.Config) {
	n.t.Helper()
	if err := n.use(c); err != nil {
		n.t.Fatal(err)
	}
}

func (n *network) await(what string, ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("no sign of %s", what)
		}
	}
}

func (n *network) holds(a, want string) {
	n.t.Helper()
	if h, _ := n.lines.dir.Lookup(netip.MustParseAddr(a)); h.ID != want {
		n.t.Errorf("%s is held by %q, want %q", a, h.ID, want)
	}
}

// account sends one Accounting-Request to 127.0.0.1 and tells whether it was answered.
func (n *network) account(at string, status uint32, user, session, address string) bool {
	n.t.Helper()
	p := []byte{4, 1, 0, 0, 19: 0}
	add := func(kind byte, value []byte) { p = append(append(p, kind, byte(len(value)+2)), value...) }
	add(1, []byte(user))
	add(40, binary.BigEndian.AppendUint32(nil, status))
	add(44, []byte(session))
	if address != "" {
		add(8, netip.MustParseAddr(address).AsSlice())
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	sum := md5.Sum(append(append([]byte{}, p...), nasSecret...))
	copy(p[4:], sum[:])
	conn, err := net.Dial("udp", at)
	if err != nil {
		n.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(p); err != nil {
		return false
	}
	conn.SetReadDeadline(time.Now().Add(time.Second))
	answer := make([]byte, 20)
	got, err := conn.Read(answer)
	return err == nil && got == 20 && answer[0] == 5
}

func (n *network) start(at, user, session, address string) {
	n.t.Helper()
	if !n.account(at, 1, user, session, address) {
		n.t.Errorf("the Start of %s at %s is not answered", user, at)
	}
}

func (n *network) listening() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprintf("127.0.0.1:%d", n.radius.Addr().Port())
}

func TestRADIUSMovesLines(t *testing.T) {
	n := newNetwork(t, twoLines)
	n.running(n.radiusOn("127.0.0.1:0"))
	at := n.listening()
	n.start(at, "acct-home", "1", "100.64.9.1")
	n.holds("100.64.9.1", "home")
	n.start(at, "", "2", "100.64.9.9") // nobody's line: answered, of no use
	n.holds("100.64.9.9", "")
	if !n.account(at, 2, "acct-home", "1", "100.64.9.1") {
		t.Error("a Stop is not answered")
	}
	n.holds("100.64.9.1", "")
	n.start(at, "acct-home", "3", "100.64.9.2")
	if !n.account(at, 7, "", "boot", "") {
		t.Error("an Accounting-On is not answered")
	}
	n.holds("100.64.9.2", "")
	if s, on := n.heard(); !on || s.Handled != 4 || s.NotForUs != 1 || n.moves.Load() != 4 {
		t.Errorf("%+v, %d moves", s, n.moves.Load())
	}
}

// A name that the list does not have is told, and takes nothing from the server.
func TestUnlistedNamesAreTold(t *testing.T) {
	n := newNetwork(t, twoLines)
	n.running(n.radiusOn("127.0.0.1:0"))
	if got := n.unlisted(); got != nil {
		t.Errorf("%+v", got)
	}
	at := n.listening()
	n.start(at, "new@isp", "1", "100.64.9.1")
	n.start(at, "hosting@isp", "2", "100.64.0.1")
	n.holds("100.64.9.1", "radius:new@isp")
	n.holds("100.64.0.1", "server")
	got := n.unlisted()
	if len(got) != 2 || !strings.HasPrefix(got[0].What, `RADIUS names 2 lines that the list of subscribers does not have, such as "hosting@isp".`) ||
		!strings.HasPrefix(got[1].What, `RADIUS gives 1 address of known lines to such a name, such as 100.64.0.1: "hosting@isp" by RADIUS, and server all the same.`) {
		t.Errorf("%+v", got)
	}
	n.account(at, 2, "hosting@isp", "2", "100.64.0.1")
	if got := n.unlisted(); len(got) != 1 || !strings.HasPrefix(got[0].What, "RADIUS names 1 line that the list of subscribers does not have.") {
		t.Errorf("%+v", got)
	}
	n.lines.dir.SetTable(nil, time.Now())
	if got := n.unlisted(); got != nil {
		t.Errorf("without a list: %+v", got)
	}
}

// What RADIUS bound ends when it is switched off: at the start at once, later when
// the change has stood for a second.
func TestRADIUSThatIsOffBindsNobody(t *testing.T) {
	n := newNetwork(t, twoLines)
	on, off := n.radiusOn("127.0.0.1:0"), n.config("")
	n.running(on)
	n.start(n.listening(), "acct-home", "1", "100.64.9.1")
	n.must(off)
	if _, heard := n.heard(); heard {
		t.Error("it is heard although it is off")
	}
	n.must(on)
	n.holds("100.64.9.1", "home")
	n.start(n.listening(), "acct-home", "2", "100.64.9.2")
	n.must(off)
	n.holds("100.64.9.1", "home")
	for _, addr := range []string{"100.64.9.1", "100.64.9.2"} { // one after the other
		n.await("the end of "+addr, func() bool { _, held := n.lines.dir.Lookup(netip.MustParseAddr(addr)); return !held })
	}

	again := newNetwork(t, twoLines)
	again.lines.dir.Bind(subscriber.Binding{Prefix: netip.MustParsePrefix("100.64.9.1/32"), Source: subscriber.RADIUS, Session: "nas|1", User: "acct-home"}, time.Now(), time.Now())
	again.lines.dir.Bind(subscriber.Binding{Prefix: netip.MustParsePrefix("100.64.9.2/32"), Source: subscriber.Lease, Session: "/gone", Circuits: []string{"acct-home"}}, time.Now(), time.Now())
	again.must(off)
	again.holds("100.64.9.1", "")
	again.holds("100.64.9.2", "")
}

// The same port on another address of the machine: the old socket is in the way.
func TestRADIUSListensElsewhere(t *testing.T) {
	n := newNetwork(t, twoLines)
	n.running(n.radiusOn("0.0.0.0:0"))
	at := n.listening()
	n.must(n.radiusOn(at))
	if got := n.radius.Addr().String(); got != at {
		t.Errorf("it listens at %s, not at %s", got, at)
	}
	n.start(at, "acct-home", "1", "100.64.9.1")
	n.holds("100.64.9.1", "home")
	_, port, _ := net.SplitHostPort(at)
	n.must(n.radiusOn("0.0.0.0:" + port))
	n.start(at, "acct-home", "2", "100.64.9.2")

	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := n.use(n.radiusOn(taken.LocalAddr().String())); err == nil || !strings.Contains(err.Error(), "identity.radius.listen") {
		t.Errorf("an address that is taken: %v", err)
	}
	n.start(at, "acct-home", "3", "100.64.9.3")
	if n.conf.RADIUS.Listen != "0.0.0.0:"+port {
		t.Errorf("a refused configuration is in force: %+v", n.conf)
	}
	n.file("radius.secret", "short")
	if err := n.use(n.radiusOn(at)); err == nil || !strings.Contains(err.Error(), "identity.radius.secret_file") {
		t.Errorf("a bad secret: %v", err)
	}
	n.start(at, "acct-home", "4", "100.64.9.4")
	n.file("radius.secret", "another secret")
	n.must(n.radiusOn("0.0.0.0:" + port))
	if n.account(at, 1, "acct-home", "5", "100.64.9.5") {
		t.Error("the old secret is still believed")
	}
}

func TestLeaseFilesAreFollowed(t *testing.T) {
	n := newNetwork(t, twoLines)
	lease := fmt.Sprintf("%d 02:00:5e:00:53:01 100.64.9.%%d * *\n", time.Now().Add(time.Hour).Unix())
	one := n.file("one.leases", fmt.Sprintf(lease, 1))
	n.running(n.config("lease_files: [{path: one.leases, format: dnsmasq}, {path: two.leases, format: dnsmasq}]"))
	held := func(a string) func() bool {
		return func() bool { h, _ := n.lines.dir.Lookup(netip.MustParseAddr(a)); return h.ID == "home" }
	}
	n.await("the lease", held("100.64.9.1"))
	n.file("one.leases", fmt.Sprintf(lease, 2))
	n.await("the new lease", held("100.64.9.2"))
	n.holds("100.64.9.1", "")
	two := fault{"lease_file", filepath.Join(n.dir, "two.leases")}
	standing := func() bool {
		n.health.mu.Lock()
		defer n.health.mu.Unlock()
		return n.health.standing[two]
	}
	n.await("the fault of the file that is not there", standing)
	if files := n.files(); len(files) != 2 || files[0].Path != one || files[1].Problem == "" {
		t.Errorf("%+v", files)
	}
	n.must(n.config("lease_files: [{path: one.leases, format: dnsmasq}]"))
	if standing() {
		t.Error("a file that is watched no more is at fault")
	}
	n.holds("100.64.9.2", "home")
	n.must(n.config(""))
	n.await("the end of its leases", func() bool { return !held("100.64.9.2")() })
	if len(n.files()) != 0 || n.moves.Load() < 3 {
		t.Errorf("%+v, %d moves", n.files(), n.moves.Load())
	}
}

// A configuration that comes while the box stops begins nothing that nobody ends.
func TestNothingBeginsAfterTheEnd(t *testing.T) {
	n := newNetwork(t, twoLines)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n.must(n.radiusOn("127.0.0.1:0"))
	if err := n.Run(ctx); err != nil {
		t.Error(err)
	}
	n.must(n.radiusOn("127.0.0.1:0"))
	if _, on := n.heard(); on {
		t.Error("it listens")
	}
}
