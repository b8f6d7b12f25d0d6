package health

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// told is what PID 1 heard, and after how many seconds.
type told struct {
	after  int
	reason string
}

// hear runs for a while; wrong says by time what is wrong.
func hear(t *testing.T, trial bool, during time.Duration, wrong func(after time.Duration) error) (heard []told, checks int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), during)
		defer cancel()
		began := time.Now()
		err := Run(ctx, Options{
			Trial: trial, Log: slog.New(slog.DiscardHandler),
			Check: func(context.Context) error { checks++; return wrong(time.Since(began)) },
			Report: func(reason string) error {
				heard = append(heard, told{int(time.Since(began).Seconds()), reason})
				return nil
			},
		})
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	return heard, checks
}

func well(time.Duration) error { return nil }

func TestAHealthyNodeSaysSoOnceAndIsCheckedOnceAMinute(t *testing.T) {
	heard, checks := hear(t, false, 10*time.Minute+time.Second, well)
	if !slices.Equal(heard, []told{{0, ""}}) || checks != 11 {
		t.Errorf("heard %v in %d checks, want it once, 11 checks", heard, checks)
	}
}

func TestATrialIsToldEveryHalfMinuteAndCheckedEveryTenSeconds(t *testing.T) {
	heard, checks := hear(t, true, 95*time.Second, well)
	if !slices.Equal(heard, []told{{0, ""}, {30, ""}, {60, ""}, {90, ""}}) || checks != 10 {
		t.Errorf("heard %v in %d checks, want at 0, 30, 60 and 90 s, 10 checks", heard, checks)
	}
}

func TestATrialThatNobodyEndedIsWatchedLikeAnyNodeAfterAnHour(t *testing.T) {
	_, checks := hear(t, true, 2*time.Hour, well)
	if want := 360 + 60; checks < want-5 || checks > want+5 {
		t.Errorf("%d checks in two hours, want about %d", checks, want)
	}
}

func TestAChangeIsToldAndWhatIsWrongIsLookedAtOften(t *testing.T) {
	heard, _ := hear(t, false, 5*time.Minute, func(after time.Duration) error {
		if after >= 100*time.Second && after < 145*time.Second {
			return errors.New("datastore away")
		}
		return nil
	})
	if want := []told{{0, ""}, {120, "datastore away"}, {150, ""}}; !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
}

func TestTheNodeObjectDecides(t *testing.T) {
	node := func(conditions ...corev1.NodeCondition) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.NodeStatus{Conditions: conditions}}
	}
	for _, c := range []struct {
		name string
		node *corev1.Node
		want string // in the error; empty: none
	}{
		{"ready", node(corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue}), ""},
		{"not ready", node(corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: "no network"}), "no network"},
		{"unknown", node(corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown"}), "NodeStatusUnknown"},
		{"no condition", node(), "has not reported"},
		{"another node", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, "not found"},
	} {
		err := nodeReady(t.Context(), fake.NewClientset(c.node), "a")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
