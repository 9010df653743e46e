package lab

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Software names the mail server that a MailServer runs.
type Software uint8

// What Debian offers.
const (
	Postfix Software = iota
	Exim
	OpenSMTPD
)

func (s Software) String() string { return [...]string{"postfix", "exim", "opensmtpd"}[s] }

// TLSPolicy says what a mail server does about TLS when it sends.
type TLSPolicy uint8

// What a sending mail server asks of the other end.
const (
	TLSNever  TLSPolicy = iota // plain text even where STARTTLS is offered
	TLSMay                     // STARTTLS where it is offered, no questions
	TLSPinned                  // STARTTLS, and the certificate must be exactly the one named; otherwise the mail stays in the queue
)

// Route says where mail for a domain goes. The lab has no resolver.
type Route struct {
	Domain      string
	To          netip.AddrPort
	TLS         TLSPolicy
	Fingerprint string // for TLSPinned: SHA-256 of the certificate, lower-case hex
}

// ServerOptions describes a mail server.
type ServerOptions struct {
	Software Software
	Side     Side
	// Domains are those it accepts mail for, all into its one mailbox.
	Domains []string
	// StartTLS: it offers STARTTLS with a certificate of the lab's CA.
	StartTLS bool
	// Routes is where mail of its own users for other domains goes.
	Routes []Route
	// RetryAfter is how long a deferred message waits for its next try, in
	// whole seconds; 0 means 10 s.
	RetryAfter time.Duration
	// TimesFaster, if not 0, has Postfix retry on its own schedule instead of
	// RetryAfter, so many times faster: every time of it is divided by this and
	// cut down to whole seconds, at least one. At 300 what it does within 75
	// minutes takes 15 s.
	TimesFaster int
	// Concurrency bounds its sessions to one destination; 0 means the software's default.
	Concurrency int
	// Tuning is what a rig may want otherwise than Debian has it; the zero value changes nothing.
	Tuning
}

// QueueEntry is one recipient of one message that waits in a queue.
type QueueEntry struct {
	ID        string
	Sender    string // "" for a bounce
	Recipient string
	Reason    string // the last refusal, as the mail server words it; "" before the first try
}

// TLSPeer is what a sending mail server saw at the other end of STARTTLS.
type TLSPeer struct {
	To          netip.AddrPort
	Version     string // "TLSv1.3" (Postfix) or "TLS1.3" (Exim)
	Fingerprint string // SHA-256 of the certificate, lower-case hex
	Pinned      bool   // it was compared with the one asked for, and equal
}

// Attempt is one try of a sending mail server to deliver to one recipient,
// as its log has it.
type Attempt struct {
	Recipient string
	To        netip.AddrPort // zero when it got no connection, or delivered into its own mailbox
	Status    string         // sent, deferred or bounced
	// Setup is how long connection, greeting, EHLO and STARTTLS took together;
	// Exim does not log it apart, then it is 0.
	Setup time.Duration
	// Took is Setup and the message's transmission.
	Took time.Duration
	Text string // what the other end said, or why it failed
}

// MailServer is a real Postfix, Exim or OpenSMTPD at a line of its own.
type MailServer struct {
	Line
	Options ServerOptions

	mta    mta
	ca     *CA
	cert   certificate
	secret string // Options.Login.Password as crypt(3) has it
	dir    string
	inst   *instance

	mu        sync.Mutex
	routes    []Route
	delivered map[string]MessageID // by file name in the mailbox
}

// mta is what each software does its own way.
type mta interface {
	packages() PackageSet
	files(s *MailServer, routes []Route) []file // besides baseFiles and certificateFiles; written anew for a reload
	daemon(o ServerOptions) []string
	queue(ctx context.Context, s *MailServer) ([]QueueEntry, error)
	flush(ctx context.Context, s *MailServer) error
	peers(log string) []TLSPeer
	attempts(log string) []Attempt
	taken(log string) []Taken
	log() string // the main log, relative to the instance's directory
}

// AddMailServer puts a mail server at one more line and waits until it greets.
// The first one of a lab may download packages.
func (l *Lab) AddMailServer(ctx context.Context, name string, o ServerOptions) (*MailServer, error) {
	if o.RetryAfter == 0 {
		o.RetryAfter = 10 * time.Second
	}
	if err := o.Tuning.check(o); err != nil {
		return nil, fmt.Errorf("mail server %s: %w", name, err)
	}
	if o.TimesFaster != 0 && (o.Software != Postfix || o.TimesFaster < 0) {
		return nil, fmt.Errorf("mail server %s: TimesFaster is %d, for %s; only Postfix has it, from 1", name, o.TimesFaster, o.Software)
	}
	mta := [...]mta{Postfix: postfix{}, Exim: exim{}, OpenSMTPD: opensmtpd{}}[o.Software]
	tree, err := l.packages(ctx, mta.packages())
	if err != nil {
		return nil, fmt.Errorf("mail server %s: %w", name, err)
	}
	line, err := l.addLine(name, o.Side)
	if err != nil {
		return nil, err
	}
	s := &MailServer{
		Line: line, Options: o, mta: mta, ca: l.CA, dir: filepath.Join(l.Dir, "server-"+name),
		routes: slices.Clone(o.Routes), delivered: map[string]MessageID{},
	}
	if s.cert, err = l.CA.issue(s.Host(), line.IPv4, line.IPv6); err != nil {
		return nil, err
	}
	if s.secret, err = o.Login.secret(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return nil, err
	}
	files := slices.Concat(baseFiles(s.Host()), certificateFiles(s.cert, l.CA), s.mta.files(s, s.routes))
	if err := write(s.dir, files); err != nil {
		return nil, fmt.Errorf("files of %s: %w", name, err)
	}
	if s.inst, err = startInstance(line.Namespace, tree, s.dir, s.Host(), s.mta.daemon(o)); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.servers = append(l.servers, s)
	l.mu.Unlock()
	if err := s.awaitGreeting(ctx); err != nil {
		return nil, fmt.Errorf("%s %s does not come up: %w\n%s", o.Software, name, err, s.lastWords())
	}
	l.log.Info("lab: mail server is up", "name", name, "software", o.Software.String(), "ipv4", line.IPv4, "ipv6", line.IPv6)
	return s, nil
}

// packages unpacks what mail servers need, once.
func (l *Lab) packages(ctx context.Context, set PackageSet) (*packageTree, error) {
	l.unpack.Lock()
	defer l.unpack.Unlock()
	t := l.trees[set.Name]
	if t == nil {
		var err error
		if t, err = openTree(ctx, l.cache, set, l.log); err != nil {
			return nil, err
		}
		l.trees[set.Name] = t
	}
	return t, nil
}

// Host is the mail server's host name, also in its certificate.
func (s *MailServer) Host() string { return s.Name + ".example" }

// Fingerprint is the SHA-256 of its certificate, lower-case hex.
func (s *MailServer) Fingerprint() string { return s.cert.fingerprint }

// Address is where it takes mail: port 25 of its IPv4 or IPv6 address.
func (s *MailServer) Address(ipv6 bool) netip.AddrPort {
	if ipv6 {
		return netip.AddrPortFrom(s.IPv6, 25)
	}
	return netip.AddrPortFrom(s.IPv4, 25)
}

// RouteTo is a route for domain to this server, pinned to its own certificate
// if the policy is TLSPinned.
func (s *MailServer) RouteTo(domain string, ipv6 bool, tls TLSPolicy) Route {
	return Route{Domain: domain, To: s.Address(ipv6), TLS: tls, Fingerprint: s.Fingerprint()}
}

// SetRoutes changes where mail goes from now on, also what is queued.
func (s *MailServer) SetRoutes(ctx context.Context, routes []Route) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := write(s.dir, s.mta.files(s, routes)); err != nil {
		return err
	}
	s.routes = slices.Clone(routes)
	if err := s.inst.signal(ctx, unix.SIGHUP); err != nil {
		return fmt.Errorf("reload %s: %w", s.Name, err)
	}
	return nil
}

// Send hands n messages to the server as a user of its own would, over one
// session to its loopback address, and returns their Message-IDs. They are in
// its queue then, or already on their way.
func (s *MailServer) Send(ctx context.Context, n int, from, to string) ([]MessageID, error) {
	local := s.Line.Send(ctx, Traffic{
		To: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 25), From: from, Rcpt: to, Messages: n,
	})[0]
	if local.Result != Sent {
		return local.Accepted, fmt.Errorf("hand mail to %s: %w", s.Name, local.Err)
	}
	return local.Accepted, nil
}

// Queue is what waits in the server's queue.
func (s *MailServer) Queue(ctx context.Context) ([]QueueEntry, error) {
	return s.mta.queue(ctx, s)
}

// Flush makes the server try everything in its queue now.
func (s *MailServer) Flush(ctx context.Context) error {
	return s.mta.flush(ctx, s)
}

// Delivered counts how often each message reached the mailbox: more than once
// is a duplicate.
func (s *MailServer) Delivered() (map[MessageID]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	box := filepath.Join(s.dir, mailboxPath, "new")
	names, err := os.ReadDir(box)
	if err != nil && !os.IsNotExist(err) { // the first message makes it
		return nil, err
	}
	for _, d := range names {
		if _, ok := s.delivered[d.Name()]; ok {
			continue
		}
		id, err := readMessageID(filepath.Join(box, d.Name()))
		if err != nil {
			return nil, err
		}
		s.delivered[d.Name()] = id
	}
	out := make(map[MessageID]int, len(s.delivered))
	for _, id := range s.delivered {
		out[id]++
	}
	return out, nil
}

func readMessageID(path string) (MessageID, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan() && sc.Text() != ""; {
		if v, ok := strings.CutPrefix(sc.Text(), "Message-ID: <"); ok {
			return MessageID(strings.TrimSuffix(strings.TrimSpace(v), ">")), nil
		}
	}
	return "", fmt.Errorf("%s: no Message-ID", path)
}

// TLSPeers is what the server saw at the other end of each of its STARTTLS
// sessions so far, in order.
func (s *MailServer) TLSPeers() ([]TLSPeer, error) {
	text, err := s.Log()
	if err != nil {
		return nil, err
	}
	return s.mta.peers(text), nil
}

// Attempts is every try to deliver that the server's log has, in order.
func (s *MailServer) Attempts() ([]Attempt, error) {
	text, err := s.Log()
	if err != nil {
		return nil, err
	}
	return s.mta.attempts(text), nil
}

// Log is the mail server's main log so far.
func (s *MailServer) Log() (string, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, s.mta.log()))
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	return string(b), nil
}

// RunInside runs a program of the server's packages inside it, for example
// "/usr/sbin/postconf", and returns its output.
func (s *MailServer) RunInside(ctx context.Context, argv ...string) (string, error) {
	return s.inst.run(ctx, argv...)
}

// Stop ends the mail server. Its files stay until the lab closes.
func (s *MailServer) Stop() error { return s.inst.stop() }
