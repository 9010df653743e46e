package webadmin

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// childDir in the environment makes this test binary a web admin on that data directory, so that it can be looked at from outside.
const childDir = "WEBADMIN_TEST_CHILD"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := New(Options{Source: busyBox(), DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Println("!", err)
		os.Exit(1)
	}
	ctx, end := context.WithCancel(context.Background())
	go func() { io.Copy(io.Discard, os.Stdin); end() }() // ends with whoever started it
	go func() { <-s.Ready(); fmt.Println(s.URL()) }()
	if err := s.Run(ctx); err != nil {
		fmt.Println("!", err)
		os.Exit(1)
	}
}

// child is a web admin in a process of its own, in which admin can log in.
type child struct {
	url  string
	pid  int // of what was started: the web admin, or who watches it
	end  func()
	last error
}

func startChild(t *testing.T, before ...string) *child {
	t.Helper()
	dir := shortDir(t)
	store, _, err := users.Open(filepath.Join(dir, "users.json"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Add(boss, users.Admin, password, false); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(before, self)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (the tests need strace: apt-get install strace)", err)
	}
	c := &child{pid: cmd.Process.Pid}
	c.end = sync.OnceFunc(func() { in.Close(); c.last = cmd.Wait() })
	t.Cleanup(c.end)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "https://") {
		t.Fatalf("the child says %q, %v", line, err)
	}
	c.url = strings.TrimSpace(line)
	return c
}

// from is a client at an address of the loopback network. It keeps cookies only as the caller says.
func from(addr net.IP) *http.Client {
	c := client()
	c.Timeout = time.Minute
	c.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: addr}}).DialContext}
	return c
}

func (c *child) login(at *http.Client, name, password string) (*http.Response, error) {
	r, err := http.NewRequest("POST", c.url+"login", strings.NewReader(url.Values{"name": {name}, "password": {password}}.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a, err := at.Do(r)
	if err == nil {
		io.Copy(io.Discard, a.Body)
		a.Body.Close()
	}
	return a, err
}

// memory is how much of a process is in memory, and has been at most since the last call of forget, in bytes.
func memory(t *testing.T, pid int) (now, most int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string) int64 {
		m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(b)
		if m == nil {
			t.Fatalf("no %s in /proc/PID/status", name)
		}
		n, _ := strconv.ParseInt(string(m[1]), 10, 64)
		return n << 10
	}
	return of("VmRSS"), of("VmHWM")
}

func forget(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil { // proc(5): the peak begins anew
		t.Fatal(err)
	}
}

// 200 people from 200 addresses log in at once. It takes the memory of one hash and of their connections; and the owner, whose browser
// was here before, gets in while it lasts.
func TestAFloodOfLogins(t *testing.T) {
	c := startChild(t)
	before, _ := memory(t, c.pid)
	forget(t, c.pid)
	owner, err := c.login(from(net.IPv4(127, 0, 0, 1)), boss, password)
	if err != nil || owner.StatusCode != http.StatusSeeOther {
		t.Fatalf("%v %v", owner, err)
	}
	const people = 200
	codes := make(chan int, people)
	var wg sync.WaitGroup
	for i := range people {
		wg.Go(func() {
			a, err := c.login(from(net.IPv4(127, 0, 1, byte(i+1))), fmt.Sprintf("guess-%d", i), "a guess of mine, wrong")
			if err != nil {
				codes <- 0
				return
			}
			codes <- a.StatusCode
		})
	}
	in := false
	for range 20 { // as somebody who tries again when told that many log in
		r, err := http.NewRequest("POST", c.url+"login", strings.NewReader(url.Values{"name": {boss}, "password": {password}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, cookie := range owner.Cookies() {
			if cookie.Name == knownName {
				r.AddCookie(cookie)
			}
		}
		a, err := from(net.IPv4(127, 0, 0, 1)).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if in = a.StatusCode == http.StatusSeeOther; in {
			break
		}
	}
	if !in {
		t.Error("the owner is kept out")
	}
	wg.Wait()
	close(codes)
	count := map[int]int{}
	for code := range codes {
		count[code]++
	}
	_, most := memory(t, c.pid)
	if count[http.StatusSeeOther] != 0 || count[http.StatusUnauthorized] == 0 || count[0] != 0 || count[http.StatusUnauthorized]+count[http.StatusServiceUnavailable] != people {
		t.Errorf("answers: %v", count)
	}
	if more := most - before; more >= 64<<20 {
		t.Errorf("it took %d MB more than the %d MB of before", more>>20, before>>20)
	}
	t.Logf("answers %v; %.1f MB before, at most %.1f MB", count, float64(before)/(1<<20), float64(most)/(1<<20))
}

// A tour of every route starts no program.
func TestNoProgramIsStarted(t *testing.T) {
	log := filepath.Join(t.TempDir(), "strace")
	c := startChild(t, "strace", "-f", "-qq", "-e", "trace=execve,execveat", "-o", log)
	at := from(net.IPv4(127, 0, 0, 1))
	a, err := c.login(at, boss, password)
	if err != nil || cookieFrom(a) == "" {
		t.Fatalf("%v %v", a, err)
	}
	cookie, asked := cookieFrom(a), 0
	for _, rt := range routes() {
		// Not what ends this session: the tour goes on.
		if strings.HasSuffix(rt.path, "/events") || rt.path == "/logout" || rt.path == "/account/password" {
			continue
		}
		path := strings.NewReplacer("{$}", "", "{id}", "S-1044", "{name}", "nobody-here", "{file}", "admin.css").Replace(rt.path)
		r, err := http.NewRequest(rt.method, strings.TrimSuffix(c.url, "/")+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", cookie)
		a, err := at.Do(r)
		if err != nil {
			t.Fatalf("%s %s: %v", rt.method, path, err)
		}
		io.Copy(io.Discard, a.Body)
		a.Body.Close()
		if a.StatusCode == http.StatusUnauthorized && rt.access != everybody {
			t.Errorf("%s %s ended the tour's session", rt.method, path)
		}
		asked++
	}
	c.end()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	started := regexp.MustCompile(`execve(at)?\(`).FindAllString(string(b), -1)
	if len(started) != 1 { // that of the web admin itself shows that strace saw it
		t.Errorf("%d routes started programs:\n%s", asked, b)
	}
	t.Logf("%d routes asked, %d programs started, the web admin itself among them", asked, len(started))
}
