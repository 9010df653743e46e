package webadmin

import (
	"errors"
	"net/http"
)

const updatePath = apiRoot + "/update"

// rebootAnswer says that the box is about to start again.
type rebootAnswer struct {
	Rebooting bool `json:"rebooting"`
}

// offAnswer says that the box goes off.
type offAnswer struct {
	GoingOff bool `json:"going_off"`
}

func updateRoutes() []route {
	return []route{
		{"GET", recoveryPath, viewing, (*Server).apiRecovery, &operation{summary: "Whether the box governs, and if not why: state governing, safe (safe mode of the image) or bypass. In the last two this and the two below are answered, and GET, POST and DELETE of update, restore, factory reset and users; everything else of the API answers 503", answer: Standstill{}}},
		{"POST", recoveryPath + "/govern", administering, (*Server).apiGovern, &operation{summary: "Try governing again, or end bypass; 409 where the box governs, or where it cannot help", answer: Standstill{}}},
		{"POST", recoveryPath + "/off", administering, (*Server).apiPowerOff, &operation{summary: "Power the box off; 409 where the box governs", answer: offAnswer{}}},
		{"GET", updatePath, administering, fromImage((*Server).apiFirmware), &operation{summary: "Which version runs, what the slots hold, what came of the last update; 404 where the box is not the image", answer: Firmware{}}},
		{"POST", updatePath, administering, fromImage((*Server).apiInstall), &operation{summary: "Write an update (NAME.mwu) into the slot that does not run, while it comes; it goes on trial when the box starts again. Its signature, product, board and build are checked before a byte is written, and all of it before it could be started",
			takes: updateMedia, answer: UpdateOutcome{}}},
		{"POST", apiRoot + "/factory-reset", administering, fromImage(ownOnly((*Server).apiReset)), &operation{summary: "Start the box again and erase all its data: settings, subscribers, users, keys, history and records; now is the password of who asks, confirm the words " + resetWords + ". Nothing is erased before every collector has the record that says so, unless anyway is true; only with the session of a login",
			body: resetBody{}, answer: resetAnswer{}}},
		{"POST", updatePath + "/reboot", administering, fromImage((*Server).apiReboot), &operation{summary: "Start the whole box again, with the update if one waits; no mail passes meanwhile", answer: rebootAnswer{}}},
	}
}

// updateMedia is the media type of an update.
const updateMedia = "application/octet-stream"

// fromImage answers that there is no such thing where the box is not the image.
func fromImage(serve func(*Server, http.ResponseWriter, *http.Request)) func(*Server, http.ResponseWriter, *http.Request) {
	return func(s *Server, w http.ResponseWriter, r *http.Request) {
		if !s.box.FromImage() {
			s.refuse(w, r, http.StatusNotFound, "This is for mailweir's own image only", "This machine does not run it: mailweir is updated, and removed, in the way it was installed.")
			return
		}
		serve(s, w, r)
	}
}

func (s *Server) apiFirmware(w http.ResponseWriter, r *http.Request) {
	f := s.box.Firmware()
	f.Slots = orEmpty(f.Slots)
	writeJSON(w, http.StatusOK, f)
}

func (s *Server) apiInstall(w http.ResponseWriter, r *http.Request) {
	body := arrive(w, r)
	o, err := s.box.Install(body, actorOf(r).who)
	if err != nil {
		body.rest()
		status, title, detail := s.notInstalled(o, err)
		problem(w, status, title, detail)
		return
	}
	writeJSON(w, http.StatusOK, o)
}

// longestWhy has room for all that a trial found.
const longestWhy = 800

// notInstalled says why an update is not in its slot, and what that means.
func (s *Server) notInstalled(o UpdateOutcome, err error) (status int, title, detail string) {
	switch {
	case errors.Is(err, ErrBusy):
		return http.StatusConflict, "Another update is being written", "Wait until that has come to its end."
	case o.State == UpdateRefused:
		return http.StatusBadRequest, "The update was refused", capital(inertTo(o.Why, longestWhy)) + "."
	case o.State == UpdateStopped:
		return http.StatusUnprocessableEntity, "The update was not written whole", capital(inertTo(o.Why, longestWhy)) + ". What runs is not touched; slot " + o.Slot + " holds nothing that could be started, until an update is written whole."
	}
	s.opt.Log.Error("web admin: the update was not taken", "err", err)
	return http.StatusInternalServerError, "The update was not taken", capital(inertTo(err.Error(), longestWhy)) + "."
}

func (s *Server) apiReboot(w http.ResponseWriter, r *http.Request) {
	if err := s.box.Reboot(actorOf(r).who); err != nil {
		s.notDone(w, err, "The box does not start again")
		return
	}
	writeJSON(w, http.StatusOK, rebootAnswer{true})
}
