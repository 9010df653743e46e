package appliance

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// packed is a pack's report and its records, the blanks of the report made one.
func (d *deaf) packed(number string) (report, log string) {
	d.t.Helper()
	d.save()
	d.journaled()
	pack, ok, err := (&source{a: d.Appliance}).Evidence(number, "me")
	if !ok || err != nil {
		d.t.Fatal(ok, err)
	}
	z, err := zip.NewReader(bytes.NewReader(pack), int64(len(pack)))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			d.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			d.t.Fatal(err)
		}
		switch {
		case strings.HasSuffix(f.Name, "/report.html"):
			report = strings.Join(strings.Fields(string(b)), " ")
		case strings.HasSuffix(f.Name, "/records.log"):
			log = string(b)
		}
	}
	return report, log
}

// A pack says whether the box enforced or only observed as its records have it, and not as the box is told to do when somebody asks for the pack.
func TestAPackIsOfTheModeThatItsRecordsHave(t *testing.T) {
	t.Parallel()
	const nothing, some = "which only observed: nothing was slowed or blocked", "which only observed for a part of the time"
	enforce := fmt.Sprintf(ladderPlans, 20)
	observe := strings.Replace(enforce, "mode: enforce", "mode: observe", 1)
	for _, row := range []struct{ before, after, first, then string }{{enforce, observe, "", some}, {observe, enforce, nothing, some}} {
		d := newDeaf(t, row.before, homeList)
		d.sends("100.64.0.1", 40)
		number := d.caseOf("home")
		if number == "" {
			t.Fatal("no case")
		}
		says := func(why, want string) {
			t.Helper()
			report, log := d.packed(number)
			for _, part := range []string{nothing, some} {
				if strings.Contains(report, part) != (part == want) {
					t.Errorf("%s: %q is there: %v", why, part, part != want)
				}
			}
			if strings.Contains(log, `acted="1"`) != (want != nothing) {
				t.Errorf("%s: its records have something acted: %v", why, want == nothing)
			}
		}
		says("at first", row.first)
		d.write("mailweir.yaml", row.after)
		if err := d.reload(); err != nil {
			t.Fatal(err)
		}
		says("told another mode", row.first)
		d.sends("100.64.0.1", 40)
		says("of both modes", row.then)
		d.cut()
	}
}
