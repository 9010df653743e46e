// Package webadmin serves the box's web admin, its JSON API and its metrics.
//
// It reads from a [Source] and never from the packet path: a slow browser, a panic in a template or a full disk here costs no packet.
// The same view structs fill the pages and answer JSON, so a person and a script read the same words and numbers.
//
// # Access
//
// People log in with name, password and, if they have one, a second factor; package users keeps them. A route says which role it
// needs, and one that says nothing is closed. What a viewer sees comes through a veil that masks names and addresses. Sessions
// live in memory only (a restart logs everybody out), under a cookie that changes with each step of a login; they end 15 minutes after
// the last request, 12 hours after login, at logout, and when password, role or second factor of their user change.
//
// Programs send a bearer token: an API token of a user, or the admin token, 256 random bits made at the first start and kept in
// DATA/admin.token (mode 0600). Tokens have full entropy, so they are compared by digest and no slow hash is needed. Wrong tries, of
// passwords and of codes, are throttled by address and by name, apart for browsers from which its owner logged in before. Over the unix socket in the data directory
// the API answers without a token: whoever may open that file (mode 0600) is the owner.
package webadmin

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/mailweir/mailweir/web-admin/sentences"
)

// Options configures a [Server]. DataDir is required, and one of Source and Recovery.
type Options struct {
	Listen string // TCP address of the HTTPS server, for example ":8443"; empty: none
	// DataDir holds admin.token and tls/; the socket mailweir.sock is made in it. The directory must exist.
	DataDir string
	// CertFile and KeyFile name the operator's own pair (PEM). Both empty: a self-signed one is made once and kept in DataDir/tls.
	CertFile, KeyFile string
	// Doors are bound already; nil: New binds them, at Listen and in DataDir. The server closes them.
	Doors *Doors
	// Pair is what CertFile and KeyFile say; nil: New reads them.
	Pair *Pair
	// Metrics answers GET /metrics to operators and admins, MetricsMasked to viewers, without addresses and names of the configuration;
	// nil: there is no such page. MetricsPublic serves the masked one without a token.
	Metrics, MetricsMasked http.Handler
	MetricsPublic          bool
	Source                 Source
	Recovery               Recovery // the box governs nothing
	// Audit hears of logins, and of what is done to users; nil: nobody does. It must not block.
	Audit func(AuditEvent)
	// Sentences is what callers are told; nil: in English.
	Sentences *sentences.Set
	// Location is the zone of the times on the pages; nil: the machine's. The API always says UTC.
	Location *time.Location
	// ListBytes is the longest list of subscribers that there is memory for to be uploaded; within bounds.
	ListBytes int64
	Log       *slog.Logger     // nil: silent
	Now       func() time.Time // nil: time.Now
}

// AuditEvent is something that a person did to the web admin itself: logins, users, tokens. What is done to lines the [Source] tells.
type AuditEvent struct {
	Who    string // "anna 192.0.2.7", "admin.token 192.0.2.7", "local"
	From   string // the peer's address without port, or "socket"
	What   string // one word: login, login_refused, logout, user_added, …
	Object string // whom it was done to
	Before string
	After  string
}
