package radius

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// floodRate is how many requests a second the box has to bear.
const floodRate = 10_000

// TestMain lets this program be the sender of BenchmarkFlood too: its time is then not counted as ours.
func TestMain(m *testing.M) {
	if to := os.Getenv("RADIUS_FLOOD"); to != "" {
		if err := flood(to, os.Getenv("RADIUS_FLOOD_SECRET")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// flood sends one second's requests of different sessions, evenly, and repeats nothing.
func flood(to, secret string) error {
	c, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	now := time.Now()
	requests := make([][]byte, floodRate)
	for i := range requests {
		requests[i] = signed([]byte(secret), byte(i), number(attrAcctStatusType, 3), text(attrAcctSessionID, fmt.Sprint(i)), attr(attrNASIPAddress, 10, 0, 0, byte(i%7)), stamp(now),
			text(attrUserName, fmt.Sprint("line-", i)), text(attrCallingStationID, "02:00:5e:00:53:01"), text(attrNASPortID, "ge-0/0/1:12"),
			attr(attrFramedIPAddress, binary.BigEndian.AppendUint32(nil, 100<<24|uint32(i))...), prefix6(attrDelegatedIPv6Prefix, "2001:db8:100::/56"))
	}
	begin := time.Now()
	for i, r := range requests {
		if wait := time.Until(begin.Add(time.Duration(i) * time.Second / floodRate)); i%50 == 0 && wait > 0 {
			time.Sleep(wait)
		}
		if _, err := c.Write(r); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkFlood is a second of 10,000 requests, over and over: how much of one core they cost the whole process, and how
// many were dropped.
func BenchmarkFlood(b *testing.B) {
	for name, secret := range map[string]string{"genuine": string(testSecret), "forged": "another secret"} {
		b.Run(name, func(b *testing.B) {
			s := serve(b, Options{Handle: func(Event) error { return nil }})
			self, err := os.Executable()
			if err != nil {
				b.Fatal(err)
			}
			var spent time.Duration
			sent := uint64(0)
			for b.Loop() {
				before := cpu(b)
				cmd := exec.Command(self)
				cmd.Env = append(os.Environ(), "RADIUS_FLOOD="+s.Addr().String(), "RADIUS_FLOOD_SECRET="+secret)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				sent += floodRate
				s.client(b, "127.0.0.1", "").silent() // what is left in the socket is read by then
				spent += cpu(b) - before
			}
			s.stop()
			st := s.Stats()
			seconds := float64(sent) / floodRate
			b.ReportMetric(100*spent.Seconds()/seconds, "%core")
			b.ReportMetric(float64(sent-st.Handled-st.Ignored[WrongSecret])/seconds, "dropped/s")
			b.ReportMetric(float64(st.Handled)/seconds, "handled/s")
		})
	}
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
