package webadmin

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/mailweir/mailweir/appliance/durable"
)

// wizardStep is one page of the wizard.
type wizardStep struct {
	name, title string
	show        func(*Server, *wizardView, Configuration, values)
	take        func(*Server, *wizardTry) // nil: there is nothing to take
}

// wizardSteps are in the order in which they are asked. Plans come before subscribers, whose list names them.
func wizardSteps() []wizardStep {
	return []wizardStep{
		{"network", "Ports and topology", (*Server).showNetwork, (*Server).takeNetwork},
		{"management", "Management address", (*Server).showManagement, (*Server).takeManagement},
		{"time", "Time", (*Server).showTime, (*Server).takeTime},
		{"plans", "Plans", (*Server).showPresets, (*Server).takePresets},
		{"subscribers", "Subscribers", (*Server).showList, (*Server).takeList},
		{"syslog", "Syslog", (*Server).showCollectors, (*Server).takeCollectors},
		{"mode", "Mode", (*Server).showMode, (*Server).takeMode},
	}
}

// progress is how far the wizard is: what each step sets is in the configuration at once, so this is all there is to resume.
type progress struct {
	mu   sync.Mutex
	path string
	state
}

type state struct {
	Begun bool            `json:"begun"` // at the first visit; who made the first user on the box is not asked
	Done  map[string]bool `json:"done"`
}

// read is how far it is. A file that cannot be read means that nothing is done yet, which costs some clicks.
func (p *progress) read() state {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Done == nil {
		p.Done = map[string]bool{}
		if b, err := os.ReadFile(p.path); err == nil && json.Unmarshal(b, &p.state) != nil || p.Done == nil {
			p.state = state{Done: map[string]bool{}}
		}
	}
	done := map[string]bool{}
	for name := range p.Done {
		done[name] = true
	}
	return state{p.Begun, done}
}

// mark notes that a step is done; the empty one that the wizard has begun.
func (p *progress) mark(step string) error {
	p.read()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Begun && (step == "" || p.Done[step]) {
		return nil
	}
	p.Begun = true
	if step != "" {
		p.Done[step] = true
	}
	b, err := json.Marshal(p.state)
	if err != nil {
		return err
	}
	return durable.Replace(p.path, append(b, '\n'))
}

// left are the steps that are still to be done, once the wizard has begun; nil: none.
func (s *Server) stepsLeft() (left []string) {
	st := s.wizard.read()
	if !st.Begun {
		return nil
	}
	for _, step := range wizardSteps() {
		if !st.Done[step.name] {
			left = append(left, step.name)
		}
	}
	return left
}

// nextStep is where the wizard goes on after a step: the first one behind it that is not done, or any, or its end.
func (s *Server) nextStep(after string) string {
	done := s.wizard.read().Done
	behind, any := false, ""
	for _, step := range wizardSteps() {
		if !done[step.name] {
			if behind {
				return "/wizard/" + step.name
			}
			if any == "" {
				any = "/wizard/" + step.name
			}
		}
		behind = behind || step.name == after
	}
	if any != "" {
		return any
	}
	return "/wizard"
}

// The list of subscribers that somebody uploaded and has not taken yet is kept in the data directory, so that it can be looked at and left.

func (s *Server) draftPath() string { return filepath.Join(s.opt.DataDir, "subscribers.draft") }

func (s *Server) draft() (csv []byte, ok bool, err error) {
	csv, err = os.ReadFile(s.draftPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return csv, err == nil, err
}
