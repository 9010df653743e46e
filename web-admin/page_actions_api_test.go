package webadmin

import (
	"slices"
	"strings"
	"testing"
)

// byAPI says how what a page's form does is done over the API.
var byAPI = map[string]string{
	"POST /subscribers/{id}/release":           "POST /subscribers/{id}/release",
	"POST /subscribers/{id}/release/undo":      "DELETE /subscribers/{id}/release",
	"POST /subscribers/{id}/exemption":         "POST /subscribers/{id}/exemption",
	"POST /subscribers/{id}/exemption/end":     "DELETE /subscribers/{id}/exemption",
	"POST /subscribers/{id}/plan":              "PATCH /subscribers/{id}",
	"POST /clusters/{id}/known-good":           "PUT /config",
	"POST /clusters/{id}/known-good/end":       "PUT /config",
	"POST /syslog/test":                        "POST /syslog/test",
	"POST /account/password":                   "POST /account/password",
	"POST /account/factor":                     "PUT /account/second-factor",
	"POST /account/factor/end":                 "DELETE /account/second-factor",
	"POST /account/tokens":                     "POST /account/tokens",
	"POST /account/tokens/{id}/end":            "DELETE /account/tokens/{id}",
	"POST /account/sessions/end":               "DELETE /account/sessions/{id}", // one by one
	"POST /account/sessions/{id}/end":          "DELETE /account/sessions/{id}",
	"POST /plans":                              "PUT /config",
	"POST /plans/{name}":                       "PUT /config",
	"POST /plans/{name}/remove":                "PUT /config",
	"POST /wizard/{name}":                      "PUT /config", // and PUT /config/subscribers, POST /syslog/test
	"POST /settings/collectors":                "PUT /config", // with files
	"POST /settings/collectors/test":           "POST /syslog/test",
	"POST /settings/webhooks":                  "PUT /config", // with files
	"POST /settings/webhooks/remove":           "PUT /config",
	"POST /settings/mail":                      "PUT /config", // with files
	"POST /settings/notices/test":              "POST /notices/test",
	"POST /settings/network":                   "POST /network",
	"POST /settings/network/ports":             "PUT /config",
	"POST /settings/network/ports/keep":        "POST /network/confirm",
	"POST /network/{token}":                    "POST /network/confirm",
	"POST /mode":                               "PUT /config",
	"POST /settings/sources/radius":            "PUT /sources/radius",
	"POST /settings/sources/leases":            "PUT /config",
	"POST /settings/sources/leases/remove":     "PUT /config",
	"POST /settings/certificate":               "PUT /certificate",
	"POST /settings/certificate/self-signed":   "POST /certificate/self-signed",
	"POST /settings/language":                  "PUT /config", // with files
	"POST /settings/backup":                    "POST /backup",
	"POST /settings/restore":                   "POST /restore",
	"POST /settings/restart":                   "POST /restart",
	"POST /settings/update":                    "POST /update",
	"POST /settings/update/reboot":             "POST /update/reboot",
	"POST /settings/reset":                     "POST /factory-reset",
	"POST /settings/users":                     "POST /users",
	"POST /settings/users/{name}":              "PUT /users/{name}",
	"POST /settings/users/{name}/password":     "POST /users/{name}/password",
	"POST /settings/users/{name}/factor/end":   "DELETE /users/{name}/second-factor",
	"POST /settings/users/{name}/sessions/end": "DELETE /users/{name}/sessions",
	"POST /settings/users/{name}/remove":       "DELETE /users/{name}",
	"POST /recovery/govern":                    "POST /recovery/govern",
	"POST /recovery/off":                       "POST /recovery/off",
}

// Who comes with a token has logged in.
var comingIn = []string{"POST /login", "POST /login/code", "POST /login/password", "POST /login/factor", "POST /setup", "POST /logout"}

func TestEveryActionOfAPageIsOneOfTheAPI(t *testing.T) {
	t.Parallel()
	var pages, api []string
	for _, rt := range append(routes(), recoveryRoutes()...) {
		name := rt.method + " " + rt.path
		switch {
		case rt.api != nil:
			api = append(api, rt.method+" "+strings.TrimPrefix(rt.path, apiRoot))
		case rt.method != "GET" && !slices.Contains(comingIn, name):
			pages = append(pages, name)
		}
	}
	for _, name := range pages {
		if way := byAPI[name]; way == "" || !slices.Contains(api, way) {
			t.Errorf("%s: the API has no %q", name, way)
		}
	}
	for name := range byAPI {
		if !slices.Contains(pages, name) {
			t.Errorf("no page has %s", name)
		}
	}
	t.Logf("%d actions", len(byAPI))
}
