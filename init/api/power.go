package api

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/machine"
)

// accepted is the answer to what has begun.
func accepted(w http.ResponseWriter) { writeJSON(w, http.StatusAccepted, struct{}{}) }

func (s *Server) restart(w http.ResponseWriter, r *http.Request, by caller) error {
	name := r.PathValue("service")
	list, err := s.services(r.Context())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(x machine.Service) bool { return x.Name == name }) {
		return refuse(http.StatusNotFound, "there is no service %q on this node; \"services\" lists them", cut(name))
	}
	if err := s.Control.Restart(r.Context(), name, by.name); err != nil {
		return unavailable(err)
	}
	accepted(w)
	return nil
}

func (s *Server) reboot(w http.ResponseWriter, r *http.Request, by caller) error {
	if err := s.notWriting(); err != nil {
		return err
	}
	if err := s.Control.Reboot(r.Context(), by.name); err != nil {
		return unavailable(err)
	}
	accepted(w)
	return nil
}

func (s *Server) powerOff(w http.ResponseWriter, r *http.Request, by caller) error {
	if err := s.notWriting(); err != nil {
		return err
	}
	if err := s.Control.PowerOff(r.Context(), by.name); err != nil {
		return unavailable(err)
	}
	accepted(w)
	return nil
}

// notWriting refuses while an upgrade is being written. It would do no harm, but somebody waits for it.
func (s *Server) notWriting() error {
	if s.Slots.Busy() {
		e := refuse(http.StatusConflict, "an upgrade is being written")
		e.Do = "wait until it has ended, or end the command that runs it"
		return e
	}
	return nil
}

func (s *Server) reset(w http.ResponseWriter, r *http.Request, by caller) error {
	var q machine.ResetRequest
	if err := readJSON(r, &q); err != nil {
		return err
	}
	host := s.Places.Roots.Hostname()
	switch {
	case q.State == q.All:
		return refuse(http.StatusBadRequest, "reset: want one of \"state\" and \"all\"")
	case q.Confirm != host:
		e := refuse(http.StatusUnprocessableEntity, "reset: \"confirm\" is %q, not the name of this node", cut(q.Confirm))
		e.Do = fmt.Sprintf("if you mean it, write %q", host)
		return e
	}
	if err := s.notWriting(); err != nil {
		return err
	}
	answer, what := s.wiped(q.All), control.ResetState
	if q.All {
		what = control.ResetAll
	}
	if err := s.Control.Reset(r.Context(), what, by.name); err != nil {
		return unavailable(err)
	}
	writeJSON(w, http.StatusAccepted, answer)
	return nil
}

// wiped says what a reset wipes.
func (s *Server) wiped(all bool) machine.Reset {
	answer := machine.Reset{Wipes: []string{}, Then: "reboot"}
	disks, _ := s.Places.Roots.Disks(s.Boot.Disk, s.Boot.Part)
	for _, d := range disks {
		if !d.Booted {
			continue
		}
		if all {
			answer.Then = "power off"
			what := sizeText(d.Size)
			if d.Model != "" {
				what = d.Model + ", " + what
			}
			answer.Wipes = append(answer.Wipes, fmt.Sprintf("partition table and boot loader of /dev/%s (%s)", d.Name, what))
		}
		for _, p := range d.Partitions {
			switch {
			case p.Label == "state":
				answer.Wipes = append(answer.Wipes, fmt.Sprintf("state partition /dev/%s (%s): configuration with its secrets, datastore, pods, volumes, images and logs", p.Name, sizeText(p.Size)))
			case all && p.Label != "":
				answer.Wipes = append(answer.Wipes, fmt.Sprintf("%s /dev/%s (%s)", p.Label, p.Name, sizeText(p.Size)))
			}
		}
	}
	return answer
}

func sizeText(n int64) string {
	if n < 1e8 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
