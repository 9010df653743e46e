package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/smtp"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// clockEnv makes of the test's own binary a `mailweir run` whose clock goes ahead by so much at each SIGUSR1.
const clockEnv = "MAILWEIR_E2E_CLOCK"

func runWithClock(by string) int {
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer end()
	step, err := time.ParseDuration(by)
	var ahead atomic.Int64
	steps := make(chan os.Signal, 1)
	signal.Notify(steps, syscall.SIGUSR1)
	go func() {
		for range steps {
			ahead.Add(int64(step))
		}
	}()
	if err == nil { // run --config FILE --data DIR
		err = appliance.Run(ctx, appliance.Options{
			ConfigFile: os.Args[3], DataDir: os.Args[5], Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			Now:   func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
			Ready: func() { fmt.Fprintln(os.Stderr, "mailweir: ready") },
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// street is many homes in one namespace, each with an address of its own, and an internet of many networks in another, on
// which a real Postfix answers everywhere.
type street struct {
	t    *testing.T
	ctx  context.Context
	home *lab.Home
	mx   *lab.MailServer
}

func newStreet(t *testing.T, ctx context.Context, l *lab.Lab) *street {
	s := &street{t: t, ctx: ctx, home: addHome(t, l, "street"),
		mx: addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})}
	for _, route := range []struct {
		in  *lab.Namespace
		add []string
	}{
		{s.home.Namespace, []string{"local", "100.64.200.0/22", "dev", "lo"}},
		{s.mx.Namespace, []string{"local", "11.0.0.0/8", "dev", "lo"}},
		{l.Router, []string{"11.0.0.0/8", "via", s.mx.IPv4.String()}},
	} {
		if out, err := route.in.Command(ctx, "ip", append([]string{"route", "add"}, route.add...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip route add %v: %v: %s", route.add, err, out)
		}
	}
	return s
}

func lineAddress(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, 64, byte(200 + i/250), byte(1 + i%250)})
}
func networkAddress(i int) string { return fmt.Sprintf("11.%d.%d.25", i/250, i%250) }

// program sends from a line to an address, as a program of some kind does.
type program func(from netip.Addr, to string) error

// goProgram is a message over STARTTLS with crypto/tls, set up in some way.
func (s *street) goProgram(cfg *tls.Config) program {
	cfg.InsecureSkipVerify = true
	return func(from netip.Addr, to string) (err error) {
		var conn net.Conn
		d := net.Dialer{Timeout: 20 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		if err = s.home.Namespace.Do(func() (err error) {
			conn, err = d.DialContext(s.ctx, "tcp", to+":25")
			return err
		}); err != nil {
			return err
		}
		defer conn.Close()
		check := func(steps ...func() error) error {
			for _, step := range steps {
				if err := step(); err != nil {
					return err
				}
			}
			return nil
		}
		c, err := smtp.NewClient(conn, "mx.test")
		if err != nil {
			return err
		}
		return check(
			func() error { return c.Hello("home.test") },
			func() error { return c.StartTLS(cfg) },
			func() error { return c.Mail("a@home.test") },
			func() error { return c.Rcpt("b@mx.test") },
			func() error {
				w, err := c.Data()
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "Subject: buy\r\n\r\n%s\r\n", strings.Repeat("spam ", 100))
				return w.Close()
			},
			c.Quit)
	}
}

// command is a program from Debian.
func (s *street) command(argv func(from, to string) []string) program {
	return func(from netip.Addr, to string) error {
		args := argv(from.String(), to)
		cmd := s.home.Namespace.Command(s.ctx, args[0], args[1:]...)
		cmd.Stdin = strings.NewReader("QUIT\r\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %.300s", args, err, out)
		}
		return nil
	}
}

// all runs jobs, some at a time, and fails the test if one does.
func (s *street) all(jobs []func() error) {
	s.t.Helper()
	var wg sync.WaitGroup
	at := make(chan func() error)
	for range 6 {
		wg.Go(func() {
			for job := range at {
				if err := job(); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	for _, job := range jobs {
		at <- job
	}
	close(at)
	wg.Wait()
}

// Four hundred homes with programs that many have, and then a bot on forty of them: over TLS, one message a session, each
// time to another network, hundreds of them in all, each home far below its budgets (an office's: a residential line may not
// go to six networks in an hour). The clock goes ahead by a day in between, so that what is
// common is known; the bot and the card that tells of it are in real time.
func TestABotnetIsOnACardCommonPrintsAreNot(t *testing.T) {
	const homes, bots, each = 400, 40, 6
	l, ctx := startLab(t)
	s := newStreet(t, ctx, l)
	list := "subscriber,plan,prefixes\n"
	for i := range homes {
		list += fmt.Sprintf("H-%03d,office,%s\n", i, lineAddress(i))
	}
	b := newBox(t, ctx, l, config("enforce", "  - {name: office, preset: office}\n")+"clusters: {learn: 1h}\n", list)
	self, err := os.Executable()
	check(t, err)
	b.binary, b.env = self, []string{clockEnv + "=25h"}
	b.start()
	if st := b.status(); !st.Clusters.Learning {
		t.Errorf("%+v", st.Clusters)
	}

	openssl := func(more ...string) program {
		return s.command(func(from, to string) []string {
			return append([]string{"openssl", "s_client", "-starttls", "smtp", "-connect", to + ":25", "-bind", from + ":0", "-quiet", "-no_ign_eof"}, more...)
		})
	}
	// Programs and how many of the homes have them.
	skewed := []struct {
		name  string
		homes int
		run   program
	}{
		{"crypto/tls", 180, s.goProgram(&tls.Config{})},
		{"crypto/tls, TLS 1.2", 90, s.goProgram(&tls.Config{MaxVersion: tls.VersionTLS12})},
		{"OpenSSL", 60, openssl()},
		{"OpenSSL, TLS 1.2", 30, openssl("-tls1_2")},
		{"OpenSSL, as OpenSSL 1.0 offered", 20, openssl("-tls1_2", "-cipher", "ALL:!aNULL", "-no_ticket")},
		{"swaks", 14, s.command(func(from, to string) []string {
			return []string{"swaks", "--tls", "--local-interface", from, "--server", to, "--from", "a@home.test", "--to", "b@mx.test", "--helo", "home.test"}
		})},
		{"crypto/tls, a rare one", 6, s.goProgram(&tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384}})},
	}
	var usual []func() error
	line := 0
	for _, p := range skewed {
		for range p.homes {
			from, to := lineAddress(line), networkAddress(line%20)
			usual = append(usual, func() error { return p.run(from, to) })
			line++
		}
	}
	if line != homes {
		t.Fatalf("%d homes have a program", line)
	}
	s.all(usual)
	for _, software := range []lab.Software{lab.Postfix, lab.Exim} {
		from := addServer(t, ctx, l, software.String(), lab.ServerOptions{Software: software, Side: lab.Subscribers, Routes: []lab.Route{s.mx.RouteTo("mx.test", false, lab.TLSMay)}})
		if _, err := from.Send(ctx, 2, "me@business.test", "b@mx.test"); err != nil {
			t.Fatal(err)
		}
	}
	sessions := func(n int64) func() bool {
		return func() bool { return b.status().Sessions.Total >= n && b.status().Sessions.Open == 0 }
	}
	await(t, 60*time.Second, "the end of what homes usually do", sessions(homes+4))
	var d webadmin.Destinations
	await(t, 10*time.Second, "all that homes usually do to be counted", func() bool {
		b.get("/destinations?window=1h", &d)
		return int64(d.Sessions) == b.status().Sessions.Total
	})
	prints := map[string]int{}
	for _, r := range b.records("kind=SESSION&limit=1000") {
		prints[param(r.Line, "ja4")]++
		if from := param(r.Line, "src"); !strings.HasPrefix(from, "100.64.20") {
			t.Logf("mail server at %s: %s", from, param(r.Line, "ja4"))
		}
	}
	t.Logf("prints of %d programs on %d homes: %v", len(skewed), homes, prints)
	if len(prints) < 6 || prints[""] > 0 {
		t.Errorf("%d different prints", len(prints))
	}
	check(t, b.cmd.Process.Signal(syscall.SIGUSR1)) // a day later
	await(t, 10*time.Second, "what is common to be known", func() bool { return !b.status().Clusters.Learning })

	bot := s.goProgram(&tls.Config{MaxVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.CurveP521, tls.CurveP256},
		CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA}})
	var spam []func() error
	for n := range each {
		for i := range bots {
			from, to := lineAddress(i*7), networkAddress(1000+n*bots+i)
			spam = append(spam, func() error { return bot(from, to) })
		}
	}
	begin := time.Now()
	s.all(append(spam, usual[:40]...)) // while others do what they always do
	var k webadmin.Cluster
	await(t, 10*time.Minute, "the card", func() bool {
		if all := b.clusters(); len(all) > 0 {
			k = all[0]
		}
		return k.ID != ""
	})
	t.Logf("after %v, %.1f bits: %s", ms(time.Since(begin)), k.Bits, k.Why)
	await(t, 30*time.Second, "all that was sent", func() bool {
		b.get("/destinations?window=1h", &d)
		return d.Sessions == bots*each+40
	})
	k = b.clusters()[0]
	for _, w := range k.Weights {
		t.Logf("  %s %.1f: %s", w.Name, w.Bits, w.Text)
	}
	t.Logf("may be wrong: %s", strings.Join(k.MayBeWrong, " "))
	// Who had a print before is kept in a sketch, which takes one of so many for another once in fifty times: that one is no member then.
	if all := b.clusters(); len(all) != 1 || k.LooksLike != "botnet" || k.Sessions != bots*each || k.Networks < bots*each*9/10 || len(k.Members) != bots && len(k.Members) != bots-1 ||
		len(k.Why) == 0 || len(k.MayBeWrong) == 0 || !strings.HasPrefix(k.JA4, "t12") {
		t.Errorf("%d cards, %+v", len(all), k)
	}
	networks := 0
	for _, m := range k.Members {
		if m.Sessions != each || m.Networks < 1 || m.Networks > each {
			t.Errorf("%+v", m)
		}
		networks += m.Networks
		if v := b.subscriber(m.Subscriber); v.Stage != "observe" && v.Stage != "warn" {
			t.Errorf("%s is in stage %s", m.Subscriber, v.Stage)
		}
	}
	if networks < len(k.Members)*each*95/100 { // each counts about
		t.Errorf("%d networks of all together", networks)
	}
	records := b.records("kind=CLUSTER&limit=100")
	if n := len(records); n < 1 || n > 4 || param(records[n-1].Line, "what") != "began" || param(records[n-1].Line, "ja4") != k.JA4 {
		t.Errorf("%d records: %+v", n, records)
	}
	if st := b.status(); st.Clusters.Botnets != 1 || st.Acted != 0 || !slices.ContainsFunc(st.Problems, func(p webadmin.Problem) bool { return strings.HasPrefix(p.What, "Cluster K1") }) {
		t.Errorf("acted %d, %+v, %+v", st.Acted, st.Clusters, st.Problems)
	}
	for _, want := range []string{`mailweir_clusters{looks_like="botnet"} 1`, fmt.Sprintf(`mailweir_sessions_ended_total{tls="starttls"} %d`, b.status().Sessions.Total), "mailweir_sightings_lost_total 0"} {
		if !strings.Contains(b.metrics(), want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	b.seesNetworks(int(b.status().Sessions.Total), bots*each)
	time.Sleep(2 * time.Second) // what is promised, and tested here: a card that began is on the disk within one second
	b.kill()
	b.start()
	if all := b.clusters(); len(all) != 1 || all[0].JA4 != k.JA4 || !all[0].Ended.IsZero() {
		t.Errorf("after kill -9: %+v", all)
	}
}

// seesNetworks holds destinations and the encrypted share against what was sent.
func (b *box) seesNetworks(sessions, spam int) {
	b.t.Helper()
	var d webadmin.Destinations
	b.get("/destinations?window=1h&limit=1000", &d)
	if int(d.Sessions) != spam+40 || len(d.Items) < spam || d.Error != 0 || d.Items[0].Sessions < 2 {
		b.t.Errorf("of the last hour: %d sessions to %d networks, an error of %d", d.Sessions, len(d.Items), d.Error)
	}
	var share struct{ Items []webadmin.SharePoint }
	b.get("/share?step=1m&limit=1000&from="+time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)+"&to="+time.Now().Add(48*time.Hour).UTC().Format(time.RFC3339), &share)
	var tls, clear, bytes uint64
	for _, p := range share.Items {
		tls += p.StartTLS.Sessions
		bytes += p.StartTLS.Bytes
		clear += p.Clear.Sessions
	}
	if int(tls) != sessions || clear != 0 || bytes < uint64(sessions)*2000 {
		b.t.Errorf("%d sessions with STARTTLS and %d in clear, want %d and 0; %d bytes", tls, clear, sessions, bytes)
	}
}

func (b *box) clusters() []webadmin.Cluster {
	b.t.Helper()
	var all struct{ Items []webadmin.Cluster }
	b.get("/clusters", &all)
	return all.Items
}

// get decodes what the API answers.
func (b *box) get(path string, out any) {
	b.t.Helper()
	code, answer := b.ask("GET", path, "")
	if code != http.StatusOK {
		b.t.Fatalf("%s: %d %s", path, code, answer)
	}
	check(b.t, json.Unmarshal([]byte(answer), out))
}
