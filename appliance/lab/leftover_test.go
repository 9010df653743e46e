package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// traces is what a lab could leave behind, to look for afterwards.
type traces struct {
	ID, Dir string
	Inodes  []uint64 // of its network namespaces
	PIDs    []int    // of some of its processes
	Keeper  int
}

func tracesOf(l *Lab, more ...int) traces {
	tr := traces{ID: l.ID, Dir: l.Dir, PIDs: more, Keeper: l.reg.keeper.Process.Pid}
	for _, ns := range l.net.all() {
		tr.Inodes = append(tr.Inodes, ns.inode)
	}
	for _, s := range l.Servers() {
		tr.PIDs = append(tr.PIDs, s.inst.cmd.Process.Pid)
	}
	return tr
}

// left lists what is still there of a lab, one line each.
func (tr traces) left() []string {
	var out []string
	for _, pid := range processes() {
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil && strings.Contains(string(env), markEnv+"="+tr.ID) {
			out = append(out, fmt.Sprintf("process %d carries the mark", pid))
		}
		if slices.Contains(tr.PIDs, pid) {
			out = append(out, fmt.Sprintf("process %d", pid))
		}
		holders, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, f := range append(holders, fmt.Sprintf("/proc/%d/ns/net", pid)) {
			target, err := os.Readlink(f)
			var inode uint64
			if _, serr := fmt.Sscanf(target, "net:[%d]", &inode); err == nil && serr == nil && slices.Contains(tr.Inodes, inode) {
				out = append(out, fmt.Sprintf("namespace %d held by %s", inode, f))
			}
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), tr.ID) {
		out = append(out, fmt.Sprintf("mounts of %s (%v)", tr.ID, err))
	}
	for _, path := range []string{tr.Dir, registryFile(tr.ID)} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			out = append(out, path)
		}
	}
	return out
}

// awaitNothingLeft gives the kernel and the keeper a few seconds.
func awaitNothingLeft(t *testing.T, tr traces, links []string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := tr.left()
		for _, l := range labLinks(t) {
			if !slices.Contains(links, l) {
				left = append(left, "link "+l)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
		}
	}
}

// labLinks are the host's interfaces that have a name as the lab gives them.
func labLinks(t *testing.T) []string {
	t.Helper()
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range ifs {
		for _, p := range []string{"lan", "wan", "br0", "box", "port", "eth", "veth"} {
			if strings.HasPrefix(i.Name, p) {
				out = append(out, i.Name)
			}
		}
	}
	return out
}

func TestCloseLeavesNothing(t *testing.T) {
	links := labLinks(t)
	l, ctx := start(t)
	addServer(t, ctx, l, "postfix", ServerOptions{})
	addServer(t, ctx, l, "exim", ServerOptions{Software: Exim})
	h, err := l.AddHome("home")
	if err != nil {
		t.Fatal(err)
	}
	sleeper := h.Namespace.Command(context.Background(), "sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	tr := tracesOf(l, sleeper.Process.Pid)
	if n := len(labLinks(t)); n != len(links) {
		t.Errorf("a running lab shows %d new interfaces on the host", n-len(links))
	}
	if len(tr.left()) == 0 {
		t.Fatal("a running lab leaves no trace: the test looks in the wrong places")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sleeper.Wait(); err == nil {
		t.Error("a command inside outlived Close")
	}
	awaitNothingLeft(t, tr, links)
}

// argVictim is how the test binary is called to be a lab that gets killed.
const argVictim = "mailweir-lab-victim"

// victim builds a lab, says what to look for, and waits to be killed.
func victim() {
	ctx := context.Background()
	l, err := Start(ctx, Options{})
	if err == nil {
		_, err = l.AddMailServer(ctx, "postfix", ServerOptions{})
	}
	if err == nil {
		_, err = l.AddMailServer(ctx, "exim", ServerOptions{Software: Exim, Side: Subscribers})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sleeper := l.Box.Command(ctx, "sleep", "1000")
	if err := sleeper.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(tracesOf(l, sleeper.Process.Pid))
	select {}
}

func startVictim(t *testing.T) (*exec.Cmd, traces) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{argVictim}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var tr traces
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&tr); err != nil {
		t.Fatalf("victim: %v", err)
	}
	if len(tr.left()) == 0 {
		t.Fatal("the victim's lab leaves no trace: the test looks in the wrong places")
	}
	return cmd, tr
}

func TestKilledLabLeavesNothing(t *testing.T) {
	links := labLinks(t)
	cmd, tr := startVictim(t)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	awaitNothingLeft(t, tr, links)
}

// With the keeper killed as well the kernel still ends the processes and the
// namespaces; the files go with the next start's sweep, and no living lab's do.
func TestSweepAfterLabAndKeeperWereKilled(t *testing.T) {
	links := labLinks(t)
	alive, _ := start(t)
	cmd, tr := startVictim(t)
	if err := unix.Kill(tr.Keeper, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	want := []string{tr.Dir, registryFile(tr.ID)}
	for deadline := time.Now().Add(10 * time.Second); !slices.Equal(tr.left(), want); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("before the sweep %v is left, want %v", tr.left(), want)
		}
	}
	swept, err := Sweep()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(swept, tr.ID) || slices.Contains(swept, alive.ID) {
		t.Errorf("swept %v; dead is %s, alive is %s", swept, tr.ID, alive.ID)
	}
	awaitNothingLeft(t, tr, links)
	if _, err := os.Stat(alive.Dir); err != nil {
		t.Error("the sweep took a living lab's directory")
	}
}

func TestTwoLabsDoNotMeet(t *testing.T) {
	a, ctx := start(t)
	b, _ := start(t)
	ha, err := a.AddHome("home")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.AddHome("home"); err != nil {
		t.Fatal(err)
	}
	lis, err := b.Box.Listen("tcp4", "100.64.0.1:25")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	to := netip.MustParseAddrPort("100.64.0.1:25")
	if c, err := ha.Namespace.Dial(ctx, to); err == nil {
		_ = c.Close()
		t.Error("one lab's home reached the other lab's box")
	}
}
