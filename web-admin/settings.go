package webadmin

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
)

// Configurer reads and changes the configuration. What it changes is on the disk and, but for keys that wait for a restart, in force when it
// returns; when it returns an error nothing has changed.
type Configurer interface {
	// Config is the configuration as the file says it; [WrongConfig] when that cannot be read any more.
	Config() (Configuration, error)
	// TryConfig says what would become of a change. Errors: [WrongConfig] for what is wrong with it, [ErrConfigChanged], [Refused].
	TryConfig(c ConfigChange) (ConfigOutcome, error)
	// SetConfig makes a change, with the same errors, and [NotSure], and writes an AUDIT record of it.
	SetConfig(c ConfigChange, who string) (ConfigOutcome, error)
}

// Lister reads and changes the list of subscribers.
type Lister interface {
	// TrySubscribers reads a list as it would be taken.
	TrySubscribers(csv []byte) (ListOutcome, error)
	// SetSubscribers puts a list in the place of the one there is; [WrongConfig] when it is not good.
	SetSubscribers(csv []byte, who string) (ListOutcome, error)
}

// Backer makes one file of the configuration, and takes it back.
type Backer interface {
	// Backup is a zip of the configuration and the files that it names, secrets too; it writes an AUDIT record.
	Backup(who string) ([]byte, error)
	// Restore puts back what Backup made, or, dry, only says what it would do. sure is that of [ConfigChange]. Errors are those of [Configurer].
	Restore(file []byte, dry, sure bool, who string) (RestoreOutcome, error)
}

// Host is the machine, as far as setting up needs it.
type Host interface {
	Platform() Platform
	// Clock is how it stands with the time. It is asked for at each login.
	Clock() Clock
	// Restart begins the program anew, which takes what waits for it; mail passes unjudged meanwhile. It returns at once.
	Restart(who string)
}

// ErrConfigChanged is the error for a change that was made from a configuration which is not the one of now.
var ErrConfigChanged = errors.New("the configuration has changed meanwhile")

// Configuration is the file and what it says.
type Configuration struct {
	Text     string
	Revision string          // of the text: a digest
	Values   json.RawMessage // all keys, defaults filled in
	Warnings []ConfigProblem
	Waiting  []string // keys that are not in force until a restart
}

// ConfigChange is a whole text or some keys, and files that these name.
type ConfigChange struct {
	Revision string // that it was made from; empty: whichever
	Text     []byte // a whole configuration; nil: that of now
	Keys     []ConfigKey
	Files    []ConfigFile
	Sure     bool // whoever wants it may have records and notices go elsewhere: a token, or a login whose password was given again
}

// ConfigKey is a key and its new value as JSON; null takes it out, and then its default holds.
type ConfigKey struct {
	Key   string
	Value json.RawMessage
}

// ConfigFile is a new file beside the configuration, such as a secret: Name and a few random letters are its name, and Key is set to its path.
type ConfigFile struct {
	Key     string
	Name    string
	Content []byte
}

// ConfigOutcome is what became of a change.
type ConfigOutcome struct {
	Revision string             `json:"revision"`
	Changed  []ConfigDifference `json:"changed"`
	Warnings []ConfigProblem    `json:"warnings"`
	Waiting  []string           `json:"waiting_for_restart"`
	Text     string             `json:"-"`

	// Elsewhere are the keys by which records, notices or figures would go where they do not go now.
	Elsewhere []string `json:"-"`
}

// NotSure is the error for a change by which something would go elsewhere, of somebody of whom that is not sure: the keys.
type NotSure []string

func (n NotSure) Error() string {
	if len(n) == 1 && n[0] == "file" {
		return "a backup brings secrets and certificates, so whoever puts it back gives their password again"
	}
	return strings.Join(n, ", ") + ": by that records, notices or figures go elsewhere, or could, so whoever changes it gives their password again"
}

// ConfigDifference is one key that says something else.
type ConfigDifference struct {
	Key    string `json:"key"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// ListOutcome is what a list of subscribers has.
type ListOutcome struct {
	Subscribers int             `json:"subscribers"`
	Now         int             `json:"subscribers_now"`
	Plans       map[string]int  `json:"plans"` // how many have which
	Problems    []ConfigProblem `json:"problems"`
	More        int             `json:"more_problems"` // that are not listed
	Warnings    []string        `json:"warnings"`
}

// RestoreOutcome is what a restore does.
type RestoreOutcome struct {
	Made    Time          `json:"made"` // the backup
	Box     string        `json:"box"`  // whose it is
	Version string        `json:"version"`
	Files   []string      `json:"files"` // that are written, by path
	Config  ConfigOutcome `json:"config"`
}

// Platform is what the machine has.
type Platform struct {
	Interfaces []Interface
}

// Interface is a network interface of the box.
type Interface struct {
	Name      string
	Up        bool
	Bridge    string // whose port it is; empty: of none
	IsBridge  bool
	Addresses []netip.Prefix
}
