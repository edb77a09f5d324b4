"""An example of each answer, for OpenAPI: one invented shop, one invented customer."""

from __future__ import annotations

from typing import Any, Final

MODEL: Final = "m-0f3a9c2b41de"
_AT: Final = "2026-01-31T10:00:00Z"
_FEATURES: Final = {"orders": 12.0, "gross_spend": 1830.5, "average_order_value": 152.54, "brand": None}
USER: Final[dict[str, Any]] = {
    "user_id": "4711",
    "segment": "s3",
    "name": "Frequent big spenders",
    "nearest": "s3",
    "margin": 0.41,
    "features": _FEATURES,
    "model_id": MODEL,
    "sequence": 4,
    "event_time": _AT,
    "projected_at": "2026-01-31T10:00:00.21Z",
    "likely_segment": None,
    "likely_name": None,
    "likely_probability": None,
    "freshness_seconds": 8.2,
}
CHANGE: Final[dict[str, Any]] = {
    "change_id": "4711:orders:2:118034:4",
    "user_id": "4711",
    "from_segment": "s2",
    "from_name": "Regulars",
    "to_segment": "s3",
    "to_name": "Frequent big spenders",
    "cause": "behaviour",
    "caused_by": "orders:2:118034",
    "model_id": MODEL,
    "feature_spec": "behaviour",
    "margin": 0.12,
    "features": {"orders": 12.0, "gross_spend": 1830.5},
    "event_time": _AT,
    "decided_at": "2026-01-31T10:00:00.004Z",
    "sequence": 4,
    "likely_segment": None,
    "likely_name": None,
    "likely_probability": None,
}
_ALIKE: Final = {
    "user_id": "98",
    "segment": "s3",
    "name": "Frequent big spenders",
    "distance": 0.02,
    "cosine": None,
}
_SIMILAR: Final = {
    "user_id": "4711",
    "by": "euclidean",
    "customers": 80_000,
    "similar": [_ALIKE],
    "model_id": MODEL,
}
_CARD: Final[dict[str, Any]] = {
    "id": "s3",
    "name": "Frequent big spenders",
    "description": "Order monthly and return little; first to be told of new collections.",
    "customers": 8_412,
    "trained_size": 8_233,
    "trained_share": 0.103,
    "medians": {"orders": 11.0, "gross_spend": 1702.4},
    "top": {"category": [["Jeans", 0.21], ["Coats", 0.12]]},
    "split_of": [],
    "merged_from": [],
}
_VERSION: Final = {
    "model_id": MODEL,
    "published_at": _AT,
    "active": True,
    "recipe": "behaviour",
    "trained_at": _AT,
    "rows": 80_000,
    "segments": 5,
    "problem": "",
}
ANSWERS: Final[dict[str, Any]] = {
    "User": USER,
    "Users": {"users": [USER], "unknown": ["4712"]},
    "Change": CHANGE,
    "Changes": {"changes": [CHANGE], "caught_up": True},
    "Similar": _SIMILAR,
    "Explanation": {
        "user_id": "4711",
        "segment": "s2",
        "name": "Regulars",
        "nearest": "s2",
        "against": "s3",
        "against_name": "Frequent big spenders",
        "beyond": 0.21,
        "base": -0.05,
        "pulls": [
            {
                "feature": "gross_spend",
                "label": "gross spend",
                "value": 212.0,
                "typical_here": 240.1,
                "typical_there": 1830.5,
                "pull": 0.26,
            }
        ],
        "summary": "She is in Regulars rather than Frequent big spenders mostly by her gross spend (212.00; typical here 240.10, there 1,830.50).",
        "moves": [
            {
                "words": "2 more orders of her usual value (48.20 each)",
                "kind": "orders",
                "count": 2,
                "value": 48.2,
                "new_category": False,
                "to_segment": "s3",
                "to_name": "Frequent big spenders",
            }
        ],
        "unmoved": "",
        "model_id": MODEL,
    },
    "Answer": {
        "segment": "s3",
        "name": "Frequent big spenders",
        "margin": 0.41,
        "distances": {"s1": 2.94, "s2": 1.22, "s3": 0.31},
        "features": _FEATURES,
        "model_id": MODEL,
        "similar": None,
    },
    "Segments": {"model_id": MODEL, "segments": [_CARD]},
    "Detail": _CARD
    | {
        "model_id": MODEL,
        "live_medians": {"orders": 12.0, "gross_spend": 1764.9},
        "live_spend": 15_230_411.5,
        "typical": [
            {"feature": "gross_spend", "label": "gross spend", "here": 1764.9, "everyone": 214.0, "shift": 1.61},
        ],
    },
    "Described": {"segment": "s3", "description": "Order monthly and return little.", "by": "ann", "at": _AT},
    "Trend": {
        "window": "1h",
        "names": {"s2": "Regulars", "s3": "Frequent big spenders"},
        "points": [{"at": _AT, "customers": {"s2": 20_114, "s3": 8_412}}],
    },
    "SpendTrend": {"window": "1h", "points": [{"at": _AT, "spend": {"s2": 4_300_114.2, "s3": 15_230_411.5}}]},
    "Migrations": {
        "window": "1h",
        "migrations": [
            {
                "from_segment": "s2",
                "from_name": "Regulars",
                "to_segment": "s3",
                "to_name": "Frequent big spenders",
                "cause": "behaviour",
                "customers": 31,
            }
        ],
    },
    "Members": {"segment": "s3", "members": [USER], "next": "4711"},
    "Models": {
        "active": MODEL,
        "candidate": {
            "model_id": "m-51c2ee7d09ab",
            "base": MODEL,
            "since": _AT,
            "customers": 12_044,
            "moved": 388,
            "matrix": [{"before": "s2", "after": "s3", "customers": 388}],
        },
        "versions": [_VERSION],
        "log": [
            {
                "action": "activate",
                "model_id": MODEL,
                "before": "m-9b1d44e0c7aa",
                "by": "ann",
                "reason": "drift since Monday",
                "at": _AT,
            }
        ],
    },
    "Active": {
        "model_id": MODEL,
        "recipe": "behaviour",
        "trained_at": _AT,
        "data_until": _AT,
        "rows": 80_000,
        "segments": 5,
        "refused": "",
    },
    "ModelDocument": {
        "model_id": MODEL,
        "recipe": "behaviour",
        "trained_at": _AT,
        "data_until": _AT,
        "rows": 80_000,
        "features": ["orders", "gross_spend", "average_order_value", "categories", "return_rate"],
        "explained_variance": [0.61, 0.22],
        "hysteresis": 0.08,
        "parent": None,
        "segments": [{"id": "s3", "name": "Frequent big spenders", "size": 8_233, "share": 0.103}],
        "libraries": {"scikit-learn": "1.9.0"},
        "gates": None,
    },
    "Diff": {
        "before": "m-9b1d44e0c7aa",
        "after": MODEL,
        "customers": 20_000,
        "moved": 412,
        "rows": ["s2", "s3"],
        "columns": ["s2", "s3"],
        "matrix": [[15_800, 300], [112, 3_788]],
        "names": {"s2": "Regulars", "s3": "Frequent big spenders"},
    },
    "Switched": {"model_id": MODEL, "before": "m-9b1d44e0c7aa", "announced": True},
    "System": {
        "well": True,
        "troubles": [],
        "group": "stable",
        "workers": [{"name": "worker-1", "host": "10.0.0.7", "partitions": ["orders-0", "orders-1"]}],
        "partitions": [{"topic": "orders", "partition": 0, "committed": 118_034, "end": 118_036, "lag": 2}],
        "lag": 2,
        "events_per_second": 301.5,
        "latency_seconds": {"p50": 0.011, "p99": 0.043},
        "dead_letters": {"orders-dlt": 3, "signups-dlt": 0},
        "customers_indexed": 80_000,
        "changes_kept": 412_009,
        "listeners": 12,
    },
    "Alerts": {
        "alerts": [
            {
                "alert_id": "3dce82e559c89c5f",
                "status": "opened",
                "level": "warning",
                "signal": "feature",
                "feature": "categories",
                "model_id": MODEL,
                "direction": "up",
                "partition": -1,
                "statistic": 0.23,
                "threshold": 0.15,
                "reference_mean": 0.0,
                "reference_std": 0.0,
                "n": 1000,
                "first_seen": "2026-01-31T08:00:00Z",
                "event_time": _AT,
                "raised_at": _AT,
                "cooldown_until": "2026-01-31T11:00:00Z",
                "message": "Different categories is distributed otherwise than in training (up; PSI 0.23, alert above 0.15), "
                "since 2026-01-31T08:00Z; 19% of the events are affected.",
                "confidence": "1000 events; chance alone would exceed the threshold less than once in ten million windows; 1.5 times the threshold.",
                "suggested_action": "One feature moved: look first at the data behind different categories (units, currency, a release); if it is "
                "real, retrain: `segstream train --publish`.",
                "affected_share": 0.19,
                "affected_segments": {"s3": 0.08},
                "evidence": [
                    {
                        "signal": "feature",
                        "feature": "categories",
                        "statistic": 0.23,
                        "threshold": 0.15,
                        "n": 1000,
                        "direction": "up",
                        "bins": ["below 2", "2 to 4", "4 and more"],
                        "reference": [0.3, 0.4, 0.3],
                        "current": [0.19, 0.36, 0.45],
                        "top": ["4 and more", "below 2"],
                    }
                ],
            }
        ]
    },
    "Drift": {
        "model_id": MODEL,
        "at": _AT,
        "signals": [
            {
                "name": "categories",
                "psi": 0.23,
                "threshold": 0.15,
                "bins": ["below 2", "2 to 4", "4 and more"],
                "reference": [0.3, 0.4, 0.3],
                "current": [0.19, 0.36, 0.45],
                "nulls": 0.0,
                "n": 1000,
            }
        ],
    },
    "Letters": {
        "reasons": [
            {
                "source": "orders",
                "error": "InvalidEvent",
                "letters": 3,
                "latest_at": _AT,
                "latest_reason": "properties.total is not an amount: 'abc'",
            }
        ],
        "complete": True,
    },
    "Redriven": {"dry_run": False, "sent": 2, "errors": {"InvalidEvent": 2}, "truncated": 0, "exhausted": 1},
    "Health": {"status": "alive"},
    "Readiness": {"ready": True, "reasons": [], "degraded": []},
}
"""Name of the answer's schema -> an example."""
