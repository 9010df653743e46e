package appliance

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A backup is a zip: backup.json says what is in it, configuration.yaml is the configuration, files/0, files/1, … are what it names.
const (
	backupManifest = "backup.json"
	backupConfig   = "configuration.yaml"
	backupVersion  = 1

	maxBackup      = 72 << 20 // of all that is in it, unpacked
	maxBackupFiles = 128
)

// manifest is what backup.json says.
type manifest struct {
	Version int          `json:"version"`
	Made    time.Time    `json:"made"`
	Box     string       `json:"box"`
	Program string       `json:"program"`
	Config  string       `json:"config_sha256"`
	Files   []backupFile `json:"files"`
}

// backupFile is a file that a key names.
type backupFile struct {
	Key    string `json:"key"`
	Path   string `json:"path"` // relative to the configuration where it is below it
	SHA256 string `json:"sha256"`
	Entry  string `json:"entry"`
}

// notKept are keys whose files are not the configuration's: leases of another program, and a large database that can be had again.
func notKept(key string) bool {
	return strings.HasPrefix(key, "identity.lease_files") || key == "destinations.owners_file"
}

// Backup makes one file of the configuration and what it names. Who has it has the box's secrets.
func (s *source) Backup(who string) ([]byte, error) {
	a := s.a
	a.changing.Lock()
	defer a.changing.Unlock()
	text, cfg, err := a.onDisk()
	if err != nil {
		return nil, s.wrong(err)
	}
	m := manifest{Version: backupVersion, Made: a.now().UTC(), Box: a.box, Program: a.opt.Version, Config: sum(text), Files: []backupFile{}}
	content := map[string][]byte{backupConfig: text}
	size := len(text)
	dir := filepath.Dir(a.opt.ConfigFile)
	for _, f := range cfg.Files() {
		if notKept(f.Key) {
			continue
		}
		b, err := readBounded(f.Path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the list that need not be there, or what would be missed by a restart, too
		}
		if size += len(b); err == nil && size > maxBackup {
			err = fmt.Errorf("with %s it would be larger than %v", filepath.Base(f.Path), config.Size(maxBackup))
		}
		if err != nil {
			return nil, webadmin.Refused{Field: f.Key, Message: err.Error()}
		}
		path := f.Path
		if rel, err := filepath.Rel(dir, f.Path); err == nil && filepath.IsLocal(rel) {
			path = rel
		}
		entry := fmt.Sprintf("files/%d", len(m.Files))
		content[entry] = b
		m.Files = append(m.Files, backupFile{f.Key, path, sum(b), entry})
	}
	if content[backupManifest], err = json.MarshalIndent(m, "", "  "); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(content)) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: m.Made})
		if err == nil {
			_, err = w.Write(content[name])
		}
		if err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	s.audit(who, "backup", filepath.Base(a.opt.ConfigFile), "", fmt.Sprintf("revision %s, %d files", revision(text), len(m.Files)))
	return out.Bytes(), nil
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func readBounded(path string) ([]byte, error) {
	f, err := config.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBackup+1))
	if err == nil && len(b) > maxBackup {
		err = fmt.Errorf("is larger than %v", config.Size(maxBackup))
	}
	return b, err
}

// backup is one that was read.
type backup struct {
	manifest
	text    []byte
	content map[string][]byte // by path
}

// openBackup reads a backup and holds everything in it against its digests. Its errors are webadmin.Refused.
func openBackup(file []byte) (*backup, error) {
	refused := func(format string, args ...any) (*backup, error) {
		return nil, webadmin.Refused{Field: "file", Message: fmt.Sprintf(format, args...)}
	}
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return refused("this is no backup of a mailweir: %v", err)
	}
	if len(z.File) > maxBackupFiles {
		return refused("it has more than %d files", maxBackupFiles)
	}
	left := int64(maxBackup)
	entries := map[string][]byte{}
	for _, e := range z.File {
		r, err := e.Open()
		if err != nil {
			return refused("%s: %v", e.Name, err)
		}
		b, err := io.ReadAll(io.LimitReader(r, left+1))
		if err = errors.Join(err, r.Close()); err != nil {
			return refused("%s: %v", e.Name, err)
		}
		if left -= int64(len(b)); left < 0 {
			return refused("it is larger than %v unpacked", config.Size(maxBackup))
		}
		entries[e.Name] = b
	}
	b := &backup{text: entries[backupConfig], content: map[string][]byte{}}
	if err := json.Unmarshal(entries[backupManifest], &b.manifest); err != nil {
		return refused("this is no backup of a mailweir: it has no %s that can be read", backupManifest)
	}
	if b.Version != backupVersion {
		return refused("it is of version %d, and this program knows %d", b.Version, backupVersion)
	}
	if sum(b.text) != b.Config {
		return refused("%s is damaged: its digest is another", backupConfig)
	}
	for _, f := range b.Files {
		content, there := entries[f.Entry]
		if !there || sum(content) != f.SHA256 {
			return refused("%s, which is for %s, is missing or damaged", f.Entry, f.Key)
		}
		b.content[f.Path] = content
	}
	return b, nil
}

// restorePending holds a restore while its files are written: a box that dies meanwhile writes them all at its next start.
const restorePending = "restore.zip"

// Restore puts back a backup, all of it or nothing; dry says what that would be, and sure that something may go elsewhere by it.
func (s *source) Restore(file []byte, dry, sure bool, who string) (webadmin.RestoreOutcome, error) {
	a := s.a
	a.changing.Lock()
	defer a.changing.Unlock()
	b, d, o, err := s.looked(file)
	if err != nil || dry {
		return o, err
	}
	if !sure { // it may bring other secrets and certificates under the names of now
		return o, webadmin.NotSure(append([]string{"file"}, o.Config.Elsewhere...))
	}
	changed := b.changes(a.opt.ConfigFile)
	old, err := a.replaceFiles(b, file)
	var waiting []string
	if err == nil {
		d.seen = fileState(d.next.SubscribersPath())
		waiting, err = a.put(d)
	}
	if err == nil && bytes.Equal(d.was, d.text) { // the files may be others all the same
		live, later := carried(a.cfg.Load(), d.next)
		err = a.take(live, later, d.table, d.seen)
	}
	pending := filepath.Join(a.opt.DataDir, restorePending)
	if err != nil {
		return o, s.wrong(errors.Join(err, old.back(), os.Remove(pending)))
	}
	if err := errors.Join(os.Remove(pending), durable.SyncDir(a.opt.DataDir)); err != nil {
		a.log.Error("a restore is done, and would be done again at the next start", "err", err)
	}
	s.restored(who, b, d, o, changed)
	o.Config.Waiting = waiting
	return o, nil
}

// looked is a backup that can be put back, and what that would change. The caller holds a.changing.
func (s *source) looked(file []byte) (b *backup, d *draft, o webadmin.RestoreOutcome, err error) {
	a := s.a
	if b, err = openBackup(file); err != nil {
		return nil, nil, o, err
	}
	was, before, err := a.onDisk()
	if err != nil {
		if was == nil {
			return nil, nil, o, err
		}
		before = a.cfg.Load()
	}
	d = &draft{was: was, text: b.text, before: before}
	if err := a.tryBackup(b, d); err != nil {
		return nil, nil, o, s.wrong(err)
	}
	if err := a.untried(d.next); err != nil {
		return nil, nil, o, s.wrong(err)
	}
	_, waiting := carried(a.cfg.Load(), d.next)
	o = webadmin.RestoreOutcome{Made: webadmin.At(b.Made), Box: b.Box, Version: b.Program, Files: []string{filepath.Base(a.opt.ConfigFile)}}
	for _, f := range b.Files {
		o.Files = append(o.Files, f.Path)
	}
	o.Config = s.outcome(d, waiting)
	o.Config.Warnings = append(o.Config.Warnings, s.problems(a.fits(before, d.next))...)
	return b, d, o, nil
}

// restored tells of a backup that was put back.
func (s *source) restored(who string, b *backup, d *draft, o webadmin.RestoreOutcome, changed []string) {
	said := saidOf(o.Config.Changed)
	for i, one := range said {
		if i == len(said)-1 && len(changed) > 0 {
			one.after += "; other contents in " + strings.Join(changed, ", ")
		}
		s.audit(who, "restore", filepath.Base(s.a.opt.ConfigFile), one.before,
			fmt.Sprintf("%s (revision %s, backup of %s%s)", one.after, revision(d.text), b.Made.Format(time.RFC3339), part(i, len(said))))
	}
}

// unstaged is what was found wrong with files in stage, as if they were where they are going to be.
func unstaged(err error, stage string) error {
	ps, ok := errors.AsType[config.Problems](err)
	if !ok {
		return err
	}
	ps = slices.Clone(ps)
	for i := range ps {
		ps[i].Message = strings.ReplaceAll(ps[i].Message, stage+"/", "")
	}
	return ps
}

// where is the place of a file of a backup on a box whose configuration is file; "" when it may not be written. What is among the data of the box, as its
// users and its journal are, is not a backup's to write, but for what the configuration names there already and what pages have made. Nor is a file that is new where
// programs look for theirs by themselves: beside a configuration that is itself in a directory of the system or a home, or with a hidden part in its path.
func where(file, data, path string, named map[string]bool) string {
	dir := filepath.Dir(file)
	at := path
	if at != filepath.Clean(at) {
		return ""
	}
	if !filepath.IsAbs(path) {
		if !filepath.IsLocal(path) {
			return ""
		}
		at = filepath.Join(dir, path)
	}
	switch {
	case named[at]:
		return at
	case filepath.IsAbs(path), at == filepath.Clean(file), !isIn(followed(dir), followed(at)), reaches(data, at) && !reaches(filepath.Join(dir, settingsDir), at):
		return ""
	case isIn(filepath.Join(dir, settingsDir), at): // is ours alone
	case hidden(path), sharedDirectory(followed(dir)):
		return ""
	}
	if st, err := os.Lstat(at); filepath.Dir(at) == filepath.Clean(dir) && filepath.Base(at) == settingsDir || err == nil && st.IsDir() {
		return ""
	}
	return at
}

// hidden tells whether a part of a path begins with a dot: programs look for such files by themselves, as a shell and ssh do in a home.
func hidden(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool { return strings.HasPrefix(part, ".") })
}

// systemDirectories are those in which, or below which, programs find files that nobody names to them.
var systemDirectories = []string{"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/media", "/mnt", "/opt", "/proc", "/root", "/run", "/sbin", "/srv",
	"/sys", "/tmp", "/usr", "/var", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/etc", "/usr/local/sbin", "/usr/sbin", "/var/lib"}

// sharedDirectory tells whether a directory is one of the system's or somebody's home, where a file that is new may be another program's.
func sharedDirectory(dir string) bool {
	dir = filepath.Clean(dir)
	if slices.Contains(systemDirectories, dir) {
		return true
	}
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return false
	}
	for user := range strings.Lines(string(users)) {
		if part := strings.Split(user, ":"); len(part) > 5 && filepath.Clean(part[5]) == dir {
			return true
		}
	}
	return false
}

// isIn tells whether a path is of something in a directory.
func isIn(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != "." && filepath.IsLocal(rel)
}

// reaches tells whether a path is that of a directory, or of something in it, whatever links lead to either.
func reaches(dir, path string) bool {
	for _, paths := range [][2]string{{dir, path}, {followed(dir), followed(path)}} {
		rel, err := filepath.Rel(absolute(paths[0]), absolute(paths[1]))
		if err != nil || filepath.IsLocal(rel) {
			return true
		}
	}
	return false
}

func absolute(path string) string {
	if at, err := filepath.Abs(path); err == nil {
		return at
	}
	return path
}

// followed is a path without links in it, as far as it is there.
func followed(path string) string {
	path = absolute(path)
	if at, err := filepath.EvalSymlinks(path); err == nil {
		return at
	}
	if up := filepath.Dir(path); up != path {
		return filepath.Join(followed(up), filepath.Base(path))
	}
	return path
}

// changes are the files of a backup that are others on the box of a configuration.
func (b *backup) changes(file string) (changed []string) {
	for _, f := range b.Files {
		at := f.Path
		if !filepath.IsAbs(at) {
			at = filepath.Join(filepath.Dir(file), at)
		}
		if is, err := readBounded(at); err != nil || !bytes.Equal(is, b.content[f.Path]) {
			changed = append(changed, f.Path)
		}
	}
	return changed
}

// tryBackup looks at a backup as a start with it would, in a directory of its own, and fills d.
func (a *Appliance) tryBackup(b *backup, d *draft) (err error) {
	if d.next, err = config.Parse(a.opt.ConfigFile, b.text); err != nil {
		return err
	}
	named := map[string]bool{}
	for _, f := range d.before.Files() {
		named[f.Path] = true
	}
	brought, names := map[string]bool{}, map[[2]string]bool{}
	for _, f := range d.next.Files() {
		names[[2]string{f.Key, f.Path}] = true
	}
	for _, f := range b.Files {
		at := where(a.opt.ConfigFile, a.opt.DataDir, f.Path, named)
		if at == "" || !names[[2]string{f.Key, at}] {
			return webadmin.Refused{Field: "file", Message: fmt.Sprintf("%s for %s is outside of this box's configuration, or would be new where other programs keep theirs; name it in the configuration here first", f.Path, f.Key)}
		}
		if is, err := readBounded(at); err == nil && !named[at] && !isIn(filepath.Join(filepath.Dir(a.opt.ConfigFile), settingsDir), at) && !bytes.Equal(is, b.content[f.Path]) {
			return webadmin.Refused{Field: "file", Message: fmt.Sprintf("%s for %s is another file on this box, which its configuration does not name; move that one away, or name it in the configuration here first", f.Path, f.Key)}
		}
		brought[f.Key] = true
	}
	foreign := slices.DeleteFunc(a.foreign(d.next, d.before, nil), func(p config.Problem) bool { return brought[p.Key] })
	if len(foreign) > 0 {
		return foreign
	}
	stage, err := os.MkdirTemp(a.opt.DataDir, "restore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	defer func() { err = unstaged(err, stage) }()
	dir := filepath.Dir(a.opt.ConfigFile)
	var elsewhere []config.Change
	for i, f := range d.next.Files() { // what the backup has not stays as it is here
		rel, err := filepath.Rel(dir, f.Path)
		if content, there := b.content[f.Path]; there && filepath.IsAbs(f.Path) {
			to := filepath.Join(stage, fmt.Sprintf("elsewhere-%d", i))
			value, err := json.Marshal(to)
			if err = errors.Join(err, os.WriteFile(to, content, 0o600)); err != nil {
				return err
			}
			elsewhere = append(elsewhere, config.Change{Key: f.Key, Value: value})
			continue
		}
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		content, there := b.content[rel]
		if !there && !notKept(f.Key) {
			if content, err = readBounded(f.Path); err != nil {
				continue // it is missed below, as at a start
			}
			there = true
		}
		if !there {
			continue
		}
		to := filepath.Join(stage, rel)
		err = os.MkdirAll(filepath.Dir(to), 0o700)
		if err == nil {
			err = os.WriteFile(to, content, 0o600)
		}
		if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) {
			return webadmin.Refused{Field: "file", Message: fmt.Sprintf("%s for %s is a file in one place and a directory in another", rel, f.Key)}
		}
		if err != nil {
			return err
		}
	}
	at, text := filepath.Join(stage, filepath.Base(a.opt.ConfigFile)), b.text
	if len(elsewhere) > 0 {
		if text, err = config.Edit(at, text, elsewhere); err != nil {
			return err
		}
	}
	staged, err := config.Parse(at, text)
	if err != nil {
		return err
	}
	if d.table, err = loadSubscribers(staged); err != nil {
		return err
	}
	return a.takeable(staged, d.table)
}

// replaced are files as they were, by path; nil: there was none.
type replaced map[string][]byte

func (r replaced) back() (err error) {
	for path, content := range r {
		if content == nil {
			err = errors.Join(err, os.Remove(path))
		} else {
			err = errors.Join(err, durable.Rewrite(path, content))
		}
	}
	return err
}

// replaceFiles writes the files of a backup, but for the configuration, and keeps what they were.
func (a *Appliance) replaceFiles(b *backup, file []byte) (replaced, error) {
	old := replaced{}
	if err := durable.Replace(filepath.Join(a.opt.DataDir, restorePending), file); err != nil {
		return old, err
	}
	for path, content := range b.content {
		at := path
		if !filepath.IsAbs(path) {
			at = filepath.Join(filepath.Dir(a.opt.ConfigFile), path)
		}
		was, err := readBounded(at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return old, err
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return old, err
		}
		if old[at] = was; errors.Is(err, fs.ErrNotExist) {
			old[at] = nil
		}
		if err := durable.Rewrite(at, content); err != nil {
			return old, err
		}
	}
	return old, nil
}

// resumed is a restore in the middle of which the box died, as the next start met it; nil: there was none.
type resumed struct {
	made time.Time // the backup
	text []byte    // its configuration
	err  error     // nil: it is done now
}

// finishRestore ends a restore in the middle of which the box died.
func finishRestore(configFile, dataDir string) *resumed {
	pending := filepath.Join(dataDir, restorePending)
	file, err := readBounded(pending)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &resumed{err: err}
	}
	b, err := openBackup(file)
	if err != nil { // the box died while it was written: nothing else had been
		if err = os.Remove(pending); err != nil {
			return &resumed{err: err}
		}
		return nil
	}
	r := &resumed{made: b.Made, text: b.text}
	for path, content := range b.content {
		at := path
		if !filepath.IsAbs(path) {
			at = filepath.Join(filepath.Dir(configFile), path)
		}
		if r.err = errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), durable.Rewrite(at, content)); r.err != nil {
			return r
		}
	}
	if r.err = durable.Rewrite(configFile, b.text); r.err == nil {
		r.err = errors.Join(os.Remove(pending), durable.SyncDir(dataDir))
	}
	return r
}

// configuration is what a start has to go by. A restore that cannot be ended, as with a full disk, does not keep the box from
// starting with what is there, if that is a configuration: it is tried again at the next start.
func configuration(opt Options) (*config.Config, *resumed, error) {
	r := finishRestore(opt.ConfigFile, opt.DataDir)
	if r != nil && r.err != nil {
		r.err = fmt.Errorf("finish the restore that %s holds (remove that file to stay with what is there now): %w", filepath.Join(opt.DataDir, restorePending), r.err)
		opt.Log.Error("a restore was broken off and could not be ended", "err", r.err)
	}
	cfg, err := config.Load(opt.ConfigFile)
	if err != nil && r != nil {
		err = errors.Join(r.err, err)
	}
	return cfg, r, err
}

// tellResumed says what became of a restore that was broken off.
func (a *Appliance) tellResumed(r *resumed) {
	switch {
	case r == nil:
	case r.err != nil:
		a.health.tell(records.HealthFacts{What: "restore", Target: restorePending, Detail: r.err.Error()})
	default:
		a.writer.Say(records.Audit(records.AuditFacts{Time: a.now(), Who: "mailweir", What: "restore", Object: filepath.Base(a.opt.ConfigFile),
			After: fmt.Sprintf("ended at the start, since it had been broken off (revision %s, backup of %s)", revision(r.text), r.made.Format(time.RFC3339))}))
	}
}
