package appliance

import (
	"io"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/web-admin/sentences"
)

// sentencesOf reads what callers are told by a configuration. lacks are texts that its file does not have; the error is a config.Problems, with the
// lines of that file.
func sentencesOf(cfg *config.Config) (set *sentences.Set, lacks config.Problems, err error) {
	const key = "admin.sentences_file"
	path := cfg.Resolve(cfg.Admin.SentencesFile)
	if path == "" {
		return sentences.Builtin(cfg.Admin.Language), nil, nil
	}
	f, err := config.OpenFile(path)
	if err != nil {
		return nil, nil, config.Problems{cfg.ProblemAt(key, err.Error())}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, sentences.MaxFile+1))
	if err != nil {
		return nil, nil, config.Problems{cfg.ProblemAt(key, err.Error())}
	}
	problems := func(all []sentences.Problem) (to config.Problems) {
		for _, p := range all {
			to = append(to, config.Problem{File: path, Line: p.Line, Key: p.Key, Message: p.Message})
		}
		return to
	}
	set, missing, wrong := sentences.Parse(text)
	if len(wrong) > 0 {
		return nil, nil, problems(wrong)
	}
	return set, problems(missing), nil
}

// SentencesProblems says what is wrong with the file of what callers are told: a config.Problems, or nil; lacks are texts that it does not have.
func SentencesProblems(cfg *config.Config) (lacks config.Problems, err error) {
	_, lacks, err = sentencesOf(cfg)
	return lacks, err
}

// toSay is what callers are told by a configuration that is about to be in force.
func (a *Appliance) toSay(cfg *config.Config) (*sentences.Set, error) {
	set, lacks, err := sentencesOf(cfg)
	for _, p := range lacks.Few(LoggedProblems) {
		a.log.Warn(p.Error())
	}
	return set, err
}
