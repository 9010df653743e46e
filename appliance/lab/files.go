package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The users of a mail server's own passwd. The numbers lie where no
// distribution and no container manager gives any out, so that a process of
// the lab is never some user of the host.
const (
	uidMail     = 1999000101 // who owns the queue: postfix, Debian-exim
	uidDrop     = 1999000102 // group postdrop, and who owns OpenSMTPD's queue
	uidMailbox  = 1999000103 // who owns the mailbox
	uidNobody   = 65534
	mailboxPath = "var/mail/inbox" // a maildir
)

// file is one file or directory of an instance.
type file struct {
	path     string // relative to the instance's directory; a trailing slash makes it a directory
	text     string
	mode     os.FileMode
	uid, gid int
}

// baseFiles are what any program expects below /etc.
func baseFiles(host string) []file {
	return []file{
		{path: "etc/", mode: 0o755}, {path: "var/", mode: 0o755}, {path: "var/spool/", mode: 0o755},
		{path: "var/lib/", mode: 0o755}, {path: "var/log/", mode: 0o777}, {path: "var/mail/", mode: 0o755},
		{path: mailboxPath + "/", mode: 0o700, uid: uidMailbox, gid: uidMailbox},
		{path: "etc/passwd", mode: 0o644, text: fmt.Sprintf("root:x:0:0::/:/bin/false\n"+
			"postfix:x:%[1]d:%[1]d::/:/bin/false\nDebian-exim:x:%[1]d:%[1]d::/:/bin/false\n"+
			"opensmtpd:x:%[1]d:%[1]d::/var/lib/opensmtpd/empty:/bin/false\nopensmtpq:x:%[4]d:%[4]d::/var/lib/opensmtpd/empty:/bin/false\n"+
			"mailbox:x:%[2]d:%[2]d::/:/bin/sh\nnobody:x:%[3]d:%[3]d::/:/bin/false\n", uidMail, uidMailbox, uidNobody, uidDrop)},
		// smtpctl(8) wants to run with the group opensmtpq, and nothing in the tree can be set-group-ID.
		{path: "etc/group", mode: 0o644, text: fmt.Sprintf("root:x:0:\nmail:x:8:\npostfix:x:%[1]d:\nDebian-exim:x:%[1]d:\n"+
			"postdrop:x:%[2]d:\nopensmtpd:x:%[1]d:\nopensmtpq:x:0:\nmailbox:x:%[3]d:\nnogroup:x:%[4]d:\n", uidMail, uidDrop, uidMailbox, uidNobody)},
		{path: "etc/hosts", mode: 0o644, text: "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 " + host + "\n"},
		{path: "etc/nsswitch.conf", mode: 0o644, text: "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n"},
		{path: "etc/resolv.conf", mode: 0o644, text: "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"},
		{path: "etc/services", mode: 0o644, text: "smtp 25/tcp mail\n"},
		{path: "etc/protocols", mode: 0o644, text: "ip 0 IP\ntcp 6 TCP\nudp 17 UDP\n"},
	}
}

// write makes the files below dir, parents before children.
func write(dir string, files []file) error {
	for _, f := range files {
		path := filepath.Join(dir, f.path)
		if f.path[len(f.path)-1] == '/' {
			if err := os.Mkdir(path, 0o700); err != nil && !os.IsExist(err) {
				return err
			}
		} else if err := replace(path, f.text); err != nil {
			return err
		}
		if err := os.Chown(path, f.uid, f.gid); err != nil {
			return err
		}
		if err := os.Chmod(path, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file in one step: a running mail server may read it now.
// The file looks a minute old: Postfix reads one that changed just now again
// and again for two seconds, in case somebody is still writing.
func replace(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path+".new", old, old); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// certificateFiles are the server's pair, one file each, for a mail server
// that reads them as the owner of its queue.
func certificateFiles(c certificate, ca *CA) []file {
	return slices.Clip([]file{
		{path: "etc/lab/", mode: 0o755},
		{path: "etc/lab/ca.pem", mode: 0o644, text: string(ca.PEM)},
		{path: "etc/lab/cert.pem", mode: 0o644, text: string(c.certPEM)},
		{path: "etc/lab/key.pem", mode: 0o400, text: string(c.keyPEM), uid: uidMail, gid: uidMail},
	})
}
