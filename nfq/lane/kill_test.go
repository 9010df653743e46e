package lane

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

const childVariable = "MAILWEIR_LANE_CHILD"

// TestMain lets the test binary be a process that attaches a lane and is killed.
func TestMain(m *testing.M) {
	if how := os.Getenv(childVariable); how != "" {
		if err := child(how); err != nil {
			fmt.Println(err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child gives a lease, says so, and neither reads nor ends.
func child(how string) error {
	o := options()
	o.Attach = how
	l, err := Open(o)
	if err != nil {
		return err
	}
	if err := attachAll(l); err != nil {
		return err
	}
	if err := l.SetSource(sub4, 1); err != nil {
		return err
	}
	l.Grant(1, 1000)
	for ready := false; ; ready = true {
		l.Alive(200 * time.Millisecond)
		l.ShortCut(200 * time.Millisecond)
		if !ready {
			fmt.Println("ready")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// start runs a child in the box and waits until it has attached.
func (r *rig) start(how string) *exec.Cmd {
	r.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"="+how)
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	r.box.Must(cmd.Start) // a child begins in the namespace of the thread that starts it
	r.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		r.t.Fatalf("the child said %q, %v", line, err)
	}
	return cmd
}

// programs is how many programs TCX has at an interface of the box.
func (r *rig) programs(name string) (n int) {
	r.t.Helper()
	r.box.Must(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		q, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		n = len(q.Programs)
		return nil
	})
	return n
}

// echo makes a server in the internet that returns what it gets.
func (r *rig) echo() net.Listener {
	l := r.inter.listen(inter4, 25)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return l
}

// talk sends n bytes and wants them back.
func talk(t *testing.T, why string, c net.Conn, n int) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	sent := bytes.Repeat([]byte("mail"), n/4)
	go func() { _, _ = c.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%s: %v", why, err)
	}
}

func TestAKilledProcessHarmsNobody(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, how string) {
		r := newRig(t)
		server := r.echo()
		r.nft(watchForward)
		cmd := r.start(how)
		before := r.sub.dial(server.Addr())
		talk(t, "while it runs", before, 4)
		seen := r.seen()
		talk(t, "while it runs, by the short cut", before, 4)
		if n := r.seen() - seen; n != 0 {
			t.Fatalf("netfilter saw %d packets that the program should have forwarded", n)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if how == "tcx" {
			nfqtest.Eventually(t, "the program is gone", func() bool { return r.programs("lan0")+r.programs("lan1")+r.programs("wan0") == 0 })
		} else if s := r.tcState("lan0"); s != "clsact mailweir/28023" {
			t.Fatalf("left behind: %q", s)
		}
		talk(t, "a session that had begun, with more than the ring holds", before, 4*minRing)
		time.Sleep(300 * time.Millisecond) // its leases have ended, and with them the short cut
		seen = r.seen()
		talk(t, "the session that had begun goes the kernel's way", before, 4)
		if n := r.seen() - seen; n < 2 {
			t.Errorf("netfilter saw %d packets of it", n)
		}
		talk(t, "a session that begins", r.sub.dial(server.Addr()), 4*minRing)
		if how == "tcx" {
			return
		}

		// The next process, also one that attaches in another way.
		for _, next := range []struct{ how, left string }{{"clsact", "clsact mailweir/28023"}, {"tcx", "clsact"}} {
			l := r.attached(next.how)
			for _, name := range []string{"lan0", "lan1", "wan0"} {
				if s := r.tcState(name); s != next.left {
					t.Errorf("a second one by %s: %s has %q", next.how, name, s)
				}
			}
			if err := l.SetSource(sub4, 1); err != nil {
				t.Fatal(err)
			}
			l.Grant(1, 1)
			l.Alive(time.Hour)
			talk(t, "with a second one", r.sub.dial(server.Addr()), 1000)
			// If the first one were still there it would have copied too, but into its own ring.
			if s, err := l.Stats(); err != nil || s.SYNFast != 1 || l.Tokens(1) != 0 {
				t.Errorf("a second one by %s: %+v, %v", next.how, s, err)
			}
			if next.how == "clsact" { // it dies as well
				for _, h := range l.holds[len(l.holds)-1:] {
					if err := h.detach(); err != nil {
						t.Error(err)
					}
				}
				l.how, l.holds = "", nil
			}
		}
	})
}

// somebodyElse puts a filter to an interface of the box.
func (r *rig) somebodyElse(name string, parent uint32, priority uint16) {
	r.t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.SchedCLS,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
		License:      "GPL",
	})
	if err != nil {
		r.t.Fatal(err)
	}
	defer p.Close()
	r.box.Must(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: parent, Priority: priority, Handle: 1, Protocol: 3 /* ETH_P_ALL */},
			Fd:          p.FD(), Name: "other", DirectAction: true,
		})
	})
}

func TestFiltersOfOthersStay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.box.Must(func() error {
		wan, err := netlink.LinkByName("wan0")
		if err != nil {
			return err
		}
		return netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: wan.Attrs().Index, Handle: handleClsact, Parent: parentClsact}})
	})
	r.somebodyElse("wan0", parentIngress, 7)
	l := r.attached("clsact")
	if s := r.tcState("wan0"); s != "clsact other/7 mailweir/28023" {
		t.Fatalf("attached: %q", s)
	}
	r.somebodyElse("lan0", parentEgress, 7) // to a clsact that we have made
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"wan0": "clsact other/7", "lan0": "clsact", "lan1": ""} {
		if s := r.tcState(name); s != want {
			t.Errorf("%s after Close: %q, want %q", name, s, want)
		}
	}

	// Where ours should be is another one: it stays, and nothing of ours does.
	r.somebodyElse("wan0", parentIngress, filterPriority)
	o := options()
	o.Attach = "clsact"
	l = r.open(o)
	var err error
	r.box.Do(func() { err = attachAll(l) })
	if err == nil || !strings.Contains(err.Error(), "interface wan0 has a filter of somebody else's") || l.How() != "" {
		t.Errorf("attach: %v, by %q", err, l.How())
	}
	for name, want := range map[string]string{"wan0": "clsact other/7 other/28023", "lan0": "clsact", "lan1": ""} {
		if s := r.tcState(name); s != want {
			t.Errorf("%s after a failed Attach: %q, want %q", name, s, want)
		}
	}
}

func TestAnInterfaceThatGoesIsNotMissed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, how string) {
		r := newRig(t)
		l := r.attached(how)
		r.box.Must(func() error {
			lan, err := netlink.LinkByName("lan1")
			if err != nil {
				return err
			}
			return netlink.LinkDel(lan)
		})
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if s := r.tcState("wan0"); s != "" || r.programs("wan0") != 0 {
			t.Errorf("after Close: %q, %d programs", s, r.programs("wan0"))
		}
	})
}

func TestATunIsWithoutEthernet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.box.Must(func() error {
		tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Queues: 1}
		if err := netlink.LinkAdd(tun); err != nil {
			return err
		}
		defer tun.Fds[0].Close()
		if err := netlink.LinkSetUp(tun); err != nil {
			return err
		}
		l, err := Open(options())
		if err != nil {
			return err
		}
		defer l.Close()
		if _, err := l.Attach([]string{"tun0"}, wans); err != nil {
			return err
		}
		if err := l.SetSource(sub4, 1); err != nil {
			return err
		}
		l.Grant(1, 1)
		l.Alive(time.Hour)
		syn := connection(sub4, 9000, inter4, 25, 1).syn().Packet()
		if _, err := tun.Fds[0].Write(syn); err != nil {
			return err
		}
		deadline := time.Now().Add(5 * time.Second)
		for seen := false; !seen; {
			if time.Now().After(deadline) {
				stats, _ := l.Stats()
				return fmt.Errorf("the SYN from the tun was not copied: %+v", stats)
			}
			if err := l.Wait(deadline); err != nil {
				return err
			}
			l.Read(func(c *Copy) {
				seen = seen || bytes.Equal(c.IP, syn) // the server's reset may follow
			})
		}
		return nil
	})
}
