package appliance

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/config"
	webadmin "github.com/mailweir/mailweir/web-admin"
	"github.com/mailweir/mailweir/web-admin/sentences"
)

// The configuration takes the languages that the program brings, and no others.
func TestTheLanguagesAreThoseThatThereAre(t *testing.T) {
	t.Parallel()
	for _, lang := range append(slices.Clone(sentences.Languages), "xx") {
		_, err := config.Parse("mailweir.yaml", []byte("network: {subscriber_interfaces: [lan0]}\nadmin: {language: "+lang+"}\n"))
		if (err == nil) != (lang != "xx") {
			t.Errorf("%s: %v", lang, err)
		}
	}
}

// What callers are told is taken as `mailweir check` takes it, named file, line and key, in force at once, and part of the backup.
func TestWhatCallersAreToldIsAFile(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	put := func(content string) (webadmin.ConfigOutcome, error) {
		return s.SetConfig(webadmin.ConfigChange{Files: []webadmin.ConfigFile{{Key: "admin.sentences_file", Name: "sentences", Content: []byte(content)}}}, "me")
	}
	_, err := put("language: de\nother:\n  case: \"Fall {number}\"\n")
	if wrong, ok := errors.AsType[webadmin.WrongConfig](err); !ok || len(wrong) != 1 || wrong[0].Line != 3 || wrong[0].Key != "other.case" || !strings.HasPrefix(wrong[0].Message, "there is no {number} here") {
		t.Fatalf("%v", err)
	}
	if d.cfg.Load().Admin.SentencesFile != "" {
		t.Error("it was taken all the same")
	}
	o, err := put("language: de\nother: {case: \"Fall {case}\"}\n")
	if err != nil || len(o.Waiting) > 0 {
		t.Fatal(o, err)
	}
	cfg := d.cfg.Load()
	set, lacks, err := sentencesOf(cfg)
	if err != nil || set.Say("other.case", set.Fact("case", "7")) != "Fall 7" || len(lacks) < 50 || !strings.HasSuffix(lacks[0].File, cfg.Admin.SentencesFile) {
		t.Errorf("%v, lacks %d: %v", err, len(lacks), lacks.First())
	}
	file, err := s.Backup("me")
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		found = found || strings.Contains(string(b), "Fall {case}")
	}
	if !found {
		t.Error("the backup lacks it")
	}
	d.write("mailweir.yaml", homePlans+"admin: {sentences_file: gone.yaml}\n")
	if err := d.reload(); err == nil || !strings.Contains(err.Error(), "admin.sentences_file") {
		t.Error(err)
	}
	d.write("mailweir.yaml", homePlans+"admin: {language: de}\n")
	if err := d.reload(); err != nil || len(d.waits()) > 0 {
		t.Error(err, d.waits())
	}
	d.write("mailweir.yaml", homePlans+"admin: {sentences_file: gone.yaml, language: de}\n")
	if o := d.webOptions(d.cfg.Load()); o.Sentences.Lang() != "de" { // a box comes up all the same
		t.Error(o.Sentences.Lang())
	}
}
