package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/evidence/xarftest"
	"github.com/mailweir/mailweir/appliance/lab"
)

// A case's pack has the sessions that crossed the box, those from before a kill and a start as well, and those that only memory has yet.
func TestACaseBecomesAPackOfEvidence(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home, other := addHome(t, l, "home"), addHome(t, l, "other")
	b := newBox(t, ctx, l, config("enforce", `  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 4, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`)+"evidence: {organization: Example ISP, contact: abuse@isp.example}\n", fmt.Sprintf("subscriber,plan,prefixes,name\nhome,small,%s,Example Home\nother,free,%s,\n", home.IPv4, other.IPv4))
	b.start()
	send := func(from *lab.Home, n int) (sent int) {
		t.Helper()
		for _, s := range from.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: n}) {
			if s.Result == lab.Sent {
				sent++
			}
		}
		return sent
	}
	sent := send(home, 3)
	send(other, 2)
	await(t, 10*time.Second, "the journal to have the sessions", func() bool { return strings.Count(journaled(t, b.data), `subscriber="home"`) >= sent })
	b.kill()
	b.start()
	sent += send(home, 5)
	number := b.subscriber("home").Case
	if number == "" || sent < 4 {
		t.Fatalf("case %q after %d sessions", number, sent)
	}

	files := b.evidence(number)
	rows, err := csv.NewReader(bytes.NewReader(files["sessions.csv"])).ReadAll()
	check(t, err)
	through := 0
	src, messages := slices.Index(rows[0], "src"), slices.Index(rows[0], "messages")
	for _, row := range rows[1:] {
		if row[src] != home.IPv4.String() {
			t.Errorf("a session of %s is in the pack", row[src])
		}
		if row[messages] == "1" {
			through++
		}
	}
	if through != sent {
		t.Errorf("%d sessions with a message in the pack, %d were sent:\n%s", through, sent, files["sessions.csv"])
	}
	for name, part := range map[string]string{"report.html": "Example Home", "xarf.json": home.IPv4.String(), "records.log": " STAGE "} {
		if !strings.Contains(string(files[name]), part) {
			t.Errorf("%s lacks %q:\n%s", name, part, files[name])
		}
	}
	if wrong := xarftest.Wrong(t, files["xarf.json"]); wrong != nil {
		t.Errorf("the report is no XARF: %v", wrong)
	}
	dir := t.TempDir()
	for name, data := range files {
		check(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	sums := exec.CommandContext(ctx, "sha256sum", "--strict", "-c", "SHA256SUMS")
	sums.Dir = dir
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

// journaled is all that the journal of a data directory has, as it stands in its files.
func journaled(t *testing.T, data string) string {
	t.Helper()
	var all strings.Builder
	paths, err := filepath.Glob(filepath.Join(data, "journal", "records-*"))
	check(t, err)
	for _, p := range paths {
		text, err := os.ReadFile(p)
		check(t, err)
		all.Write(text)
	}
	return all.String()
}

// evidence is what the pack of a case has, by name.
func (b *box) evidence(number string) map[string][]byte {
	b.t.Helper()
	resp, err := b.api().Get("http://mailweir/api/v1/cases/" + number + "/evidence.zip")
	check(b.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	check(b.t, err)
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("evidence of %s: %s %s", number, resp.Status, data)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	check(b.t, err)
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		check(b.t, err)
		text, err := io.ReadAll(r)
		check(b.t, err)
		files[strings.TrimPrefix(f.Name, "case-"+number+"/")] = text
	}
	return files
}
