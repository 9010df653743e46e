package nfq

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/session"
)

// quiet is a policy that lets all pass.
type quiet struct{}

func (quiet) Open(Flow, time.Time) Opening                            { return Opening{} }
func (quiet) Event(Flow, any, session.Event, time.Time) time.Duration { return 0 }
func (quiet) Close(Flow, any, Summary)                                {}

// clearSession is a message sent in clear, as far as its packets come to us:
// pure acknowledgements and the content after 354 do not.
func clearSession(port uint16) [][]byte {
	c := newTalk(port)
	ips := [][]byte{
		c.syn(), c.synAck(),
		c.reply("220 mx.example.net ESMTP Postfix\r\n"),
		c.say("EHLO mail.example.org\r\n"),
		c.reply("250-mx.example.net\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 CHUNKING\r\n"),
		c.say("MAIL FROM:<alice@example.org> SIZE=2048\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n"),
		c.reply("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"),
	}
	c.up += 2048
	return append(ips, c.reply("250 2.0.0 Ok: queued as 4F2C81A2\r\n"), c.say("QUIT\r\n"), c.reply("221 2.0.0 Bye\r\n"), c.serverFIN(), c.clientFIN())
}

// tlsSession is STARTTLS with a handshake that crypto/tls made; what comes
// after it is released.
func tlsSession(port uint16) [][]byte {
	c := newTalk(port)
	ips := [][]byte{
		c.syn(), c.synAck(),
		c.reply("220 mx.example.net ESMTP Postfix\r\n"),
		c.say("EHLO mail.example.org\r\n"),
		c.reply("250-mx.example.net\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n"),
		c.say("STARTTLS\r\n"),
		c.reply("220 2.0.0 Ready to start TLS\r\n"),
	}
	for _, f := range handshake() {
		for len(f.bytes) > 0 {
			n := min(len(f.bytes), 1448)
			if f.up {
				ips = append(ips, c.say(string(f.bytes[:n])))
			} else {
				ips = append(ips, c.reply(string(f.bytes[:n])))
			}
			f.bytes = f.bytes[n:]
		}
	}
	c.up += 5000
	c.down += 900
	return append(ips, c.serverFIN(), c.clientFIN())
}

type flight struct {
	up    bool
	bytes []byte
}

// recorded is one end of a connection; it notes what is written.
type recorded struct {
	net.Conn
	up  bool
	mu  *sync.Mutex
	all *[]flight
}

func (r recorded) Write(b []byte) (int, error) {
	r.mu.Lock()
	*r.all = append(*r.all, flight{r.up, append([]byte(nil), b...)})
	r.mu.Unlock()
	return r.Conn.Write(b)
}

var handshake = sync.OnceValue(func() []flight {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.net"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	var (
		mu  sync.Mutex
		all []flight
	)
	near, far := net.Pipe()
	server := tls.Server(recorded{far, false, &mu, &all}, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	client := tls.Client(recorded{near, true, &mu, &all}, &tls.Config{ServerName: "mx.example.net", InsecureSkipVerify: true})
	done := make(chan error)
	go func() {
		err := server.Handshake()
		if err == nil {
			_, err = server.Read(make([]byte, 100))
		}
		done <- err
	}()
	if _, err := client.Write([]byte("EHLO mail.example.org\r\n")); err != nil {
		panic(err)
	}
	if err := <-done; err != nil {
		panic(err)
	}
	return all
})

// BenchmarkWorker is what judging costs, decode to verdict, without the kernel:
// whole sessions, 500 at a time side by side, in batches of 4 packets.
func BenchmarkWorker(b *testing.B) {
	for _, c := range []struct {
		name string
		make func(port uint16) [][]byte
	}{{"clear", clearSession}, {"starttls", tlsSession}} {
		b.Run(c.name, func(b *testing.B) {
			bench := newBench(b, Config{Policy: quiet{}})
			const sessions = 500
			var all [sessions][][]byte
			for i := range all {
				all[i] = c.make(uint16(2000 + i))
			}
			steps := len(all[0])
			var batches [][]queued
			for step := range steps {
				for i := 0; i < sessions; i += 4 {
					var batch []queued
					for j := i; j < i+4; j++ {
						batch = append(batch, queued{id: uint32(j), ip: all[j][step]})
					}
					batches = append(batches, batch)
				}
			}
			play := func() {
				for _, batch := range batches {
					bench.out = bench.w.batch(batch, bench.now, bench.out)
				}
				bench.now = bench.now.Add(time.Minute) // flows that are over are forgotten
				bench.w.tend(bench.now, nil)
			}
			play()
			if s := bench.stats(); s.Opened != sessions || s.Ended["fin"] != sessions {
				b.Fatalf("%d opened, ended %v", s.Opened, s.Ended)
			}
			b.ReportAllocs()
			b.ResetTimer()
			packets := 0
			for b.Loop() {
				play()
				packets += steps * sessions
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
			b.ReportMetric(float64(steps), "packets/session")
		})
	}
}

// BenchmarkQueue is a round trip of a clear dialogue through the box, in short
// sessions of 8 clients at a time: without a reader, and through each of them.
func BenchmarkQueue(b *testing.B) {
	for _, reader := range []string{"none", "fast", "portable"} {
		b.Run(reader, func(b *testing.B) {
			r := newRig(b, 1)
			if reader != "none" {
				r.run(Config{Reader: reader, Policy: quiet{}})
			}
			stop, rounds := r.chat(b, 8)
			more(b, rounds, 100)
			b.ResetTimer()
			before := cpu(b)
			more(b, rounds, int64(b.N))
			b.StopTimer()
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/op") // ours and the clients'
			stop()
		})
	}
}

// cpu is what this process used so far.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
