"""Configuration of the virtual line: layout, machines, gauges, laboratory, deviations.

Pydantic at the border; every number has a default, and a scenario overrides what it likes. Units
are those of the shop floor and part of the name; the modules convert to SI.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Model(BaseModel):
    """Strict base: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(Model):
    """What the operator set this morning; the setpoints of the line at its start."""

    active: Annotated[float, Field(gt=0, lt=1)] = 0.96
    """Active material (NMC622) in the dry coating [kg/kg]."""
    carbon_black: Fraction = 0.02
    """Carbon black in the dry coating [kg/kg]."""
    binder: Fraction = 0.02
    """PVDF in the dry coating [kg/kg]."""
    solids: Annotated[float, Field(gt=0.3, lt=0.85)] = 0.66
    """Solids of the slurry by weighing [kg/kg]."""
    loading_g_m2: Positive = 180.0
    """Dry loading aimed at [g/m^2]; sets the pump when `pump_flow_ml_min` is not given."""
    mixer_speed_rpm: Positive = 2000.0
    mixer_temperature_c: float = 25.0
    mixing_time_min: Positive = 60.0
    coater_speed_m_min: Positive = 3.0
    pump_flow_ml_min: Positive | None = None
    """Pump flow [mL/min]; by default from loading, width, speed and nominal slurry density."""
    coating_gap_um: Positive = 190.0
    web_tension_n: Positive = 80.0
    zone_temperatures_c: tuple[float, ...] = (110.0, 125.0, 125.0)
    air_speed_m_s: Positive = 10.0
    calender_speed_m_min: Positive = 5.0
    calender_gap_um: NonNegative = 60.0
    calender_temperature_c: float = 60.0

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.active + self.carbon_black + self.binder
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"active + carbon_black + binder must be 1, they are {total:g}")
        return self


class Zone(Model):
    """One dryer zone, in metres behind the coating head."""

    start: NonNegative
    end: Positive


class Layout(Model):
    """Where things are on the web path [m]."""

    splice: Annotated[float, Field(le=0)] = -2.0
    """Foil unwinder, where splices are made; 0 is the coating head."""
    zones: Annotated[tuple[Zone, ...], Field(min_length=1)] = (
        Zone(start=1.0, end=4.0),
        Zone(start=4.0, end=7.0),
        Zone(start=7.0, end=10.0),
    )
    rewinder: Positive = 12.0
    calender_nip: Positive = 2.0
    """Unwinder of the calender to its nip."""


class Coater(Model):
    """Coating head, pump and hose."""

    mode: Literal["slot_die", "comma_bar"] = "slot_die"
    width_m: Positive = 0.20
    foil_um: Positive = 15.0
    foil_tolerance_um: NonNegative = 0.12
    """Standard deviation of the foil thickness along the web [um]."""
    acceleration_m_min_s: Positive = 1.0
    """Rate limit of the web speed [m/min per s]."""
    speed_noise: Fraction = 0.0008
    pump_lag_s: Positive = 0.5
    die_lag_s: Positive = 0.6
    """Compliance of hose and die."""
    pulsation: Fraction = 0.005
    """Amplitude of the pump pulsation at 1/rev [-]."""
    displacement_ml: Positive = 3.25
    """Pump volume per revolution [mL]; about 0.125 m of web in the recipe."""
    flow_noise: Fraction = 0.001
    gap_rate_um_s: Positive = 20.0
    gap_noise_um: NonNegative = 0.2
    tension_rate_n_s: Positive = 10.0
    tension_noise: Fraction = 0.01
    hose_ml: Positive = 150.0
    """Dead volume between slurry vessel and die [mL]."""
    hose_mixing_ml: Positive = 4.0
    """Volume of each of the two stirred cells that stand for axial mixing in the hose [mL]."""
    roll_length_m: Positive = 50.0
    comma_factor: Positive = 0.6
    """Wet thickness per gap of the comma bar [-]."""
    local_noise_um: NonNegative = 0.5
    """Local scatter of the wet film on 0.1 m [um]."""


class Dryer(Model):
    """Convection dryer, nozzles on both sides."""

    alpha_w_m2k: Positive = 35.0
    """Heat transfer coefficient of each side at the reference air speed [W/m^2/K]."""
    air_speed_reference_m_s: Positive = 10.0
    air_speed_exponent: Positive = 0.7
    ambient_alpha_w_m2k: Positive = 6.0
    ambient_temperature_c: float = 23.0
    ambient_amplitude_c: NonNegative = 1.0
    """Swing of the hall temperature over a day [degC]."""
    solvent_in_air: NonNegative = 0.0015
    """Mole fraction of solvent in the dryer air [-]."""
    zone_tau_s: Positive = 240.0
    heating_limit_k_min: Positive = 5.0
    overshoot: NonNegative = 0.15
    """Share of a step by which the controller overshoots [-]."""
    temperature_noise_c: NonNegative = 0.4
    temperature_noise_tau_s: Positive = 900.0
    air_lag_s: Positive = 15.0
    preheated: bool = True
    """Zones at their setpoints when the line starts; otherwise at hall temperature."""


class Calender(Model):
    """The calender, a machine of its own that takes finished rolls from the outside."""

    acceleration_m_min_s: Positive = 2.0
    speed_noise: Fraction = 0.001
    gap_rate_um_s: Positive = 10.0
    gap_noise_um: NonNegative = 0.15
    roll_diameter_m: Positive = 0.40
    eccentricity_um: NonNegative = 0.8
    """Amplitude of the gap over one turn [um]."""
    zero_spread_um: NonNegative = 25.0
    """The unknown zero of the gap is drawn from +- this [um]."""
    heating_k_min: Positive = 0.8
    temperature_noise_c: NonNegative = 0.3
    stretch: Annotated[float, Field(ge=0, lt=0.1)] = 0.01
    """Elongation of the foil in the nip [-]."""
    mounting_s: NonNegative = 30.0
    """Time to mount a roll [s]."""
    tail_m: NonNegative = 6.0
    """Leader pulled after the end of a roll so that its tail is calendered too [m]."""
    load_noise: Fraction = 0.01


class Gauge(Model):
    """One inline gauge."""

    topic: str
    unit: str
    position: Positive
    """m behind the coating head, or behind the calender's unwinder for the calendered thickness."""
    rate_hz: Positive
    noise: NonNegative = 0.0
    """Standard deviation of one reading [unit]; the beta gauge adds its counting noise."""
    bias_spread: NonNegative = 0.0
    """Standard deviation of the bias that a seed draws [unit]."""
    resolution: NonNegative = 0.0
    """Step of the display [unit]."""
    averaging_m: NonNegative = 0.0
    """Length of web under the gauge's spot [m]."""
    averaging_s: NonNegative = 0.0
    """Time over which a reading is averaged [s]."""


def _default_gauges() -> dict[str, Gauge]:
    return {
        "wet_thickness": Gauge(
            topic="wet_thickness",
            unit="um",
            position=0.5,
            rate_hz=2.0,
            noise=0.6,
            bias_spread=0.4,
            resolution=0.01,
            averaging_s=0.1,
        ),
        "web_temperature": Gauge(
            topic="web_temperature",
            unit="degC",
            position=10.0,
            rate_hz=1.0,
            noise=0.3,
            bias_spread=0.4,
            resolution=0.1,
            averaging_s=0.1,
        ),
        "mass_loading": Gauge(
            topic="mass_loading",
            unit="g/m^2",
            position=10.6,
            rate_hz=1.0,
            bias_spread=0.25,
            resolution=0.01,
            averaging_m=0.015,
            averaging_s=1.0,
        ),
        "dry_thickness": Gauge(
            topic="dry_thickness",
            unit="um",
            position=11.0,
            rate_hz=2.0,
            noise=0.5,
            bias_spread=0.3,
            resolution=0.01,
            averaging_s=0.1,
        ),
        "calendered_thickness": Gauge(
            topic="calendered_thickness",
            unit="um",
            position=3.5,
            rate_hz=2.0,
            noise=0.4,
            bias_spread=0.3,
            resolution=0.01,
            averaging_s=0.1,
        ),
    }


class BetaGauge(Model):
    """Counting statistics of the beta gauge (process model 10.1, Kr-85)."""

    count_rate: Positive = 1.0e6
    """Counts without web [1/s]."""
    absorption_m2_kg: Positive = 2.9
    """Mass absorption coefficient [m^2/kg]; 29 cm^2/g."""


class Laboratory(Model):
    """Samples and how late their results come."""

    delay_min: Positive = 20.0
    """From the sample to its result [min of line time]."""
    solids_noise: NonNegative = 0.0008
    viscosity_noise: Fraction = 0.04
    adhesion_noise: Fraction = 0.08
    residual_noise: Fraction = 0.07
    porosity_noise: NonNegative = 0.008
    sample_metre: NonNegative = 1.0
    """Where a roll is sampled, from its outer end [m]."""


class Deviations(Model):
    """How far the plant is from its data sheet; each drawn per seed."""

    coefficient_spread: Fraction = 0.03
    """Standard deviation of every physical coefficient of the plant, relative."""
    pump_error: tuple[float, float] = (0.01, 0.03)
    """Smallest and largest calibration error of the pump, either sign [-]."""
    edge_loss: tuple[float, float] = (0.004, 0.012)
    """Share of the slurry that goes into the edge beads [-]."""
    pump_slip: Fraction = 0.004
    """Flow lost at the reference viscosity; more when the slurry is thinner [-]."""
    pump_drift_per_h: Fraction = 0.001
    """Random walk of the pump [-/sqrt(h)]."""
    cross_talk_m: NonNegative = 0.35
    """Length over which neighbouring dryer zones mix [m]."""
    alpha_decay_per_h: Fraction = 0.002
    """Loss of heat transfer by clogging filters [-/h]."""
    bound_solvent: Fraction = 0.001
    """Solvent that the binder holds whatever the dryer does [kg/kg of dry coating]."""
    porosity_rate_gain: float = 0.006
    """Change of dry porosity per g/m^2/s of drying rate [-]."""
    porosity_noise: Fraction = 0.0006
    """Scatter of the dry porosity on 0.1 m [-]."""


class Plant(Model):
    """Everything about the virtual line."""

    recipe: Recipe = Recipe()
    layout: Layout = Layout()
    coater: Coater = Coater()
    dryer: Dryer = Dryer()
    calender: Calender = Calender()
    gauges: dict[str, Gauge] = Field(default_factory=_default_gauges)
    beta: BetaGauge = BetaGauge()
    laboratory: Laboratory = Laboratory()
    deviations: Deviations = Deviations()
    tick_s: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Step of the simulation [s]."""
    cell_m: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Length of a web cell [m]."""
    segment_m: Positive = 0.5
    """Length of a segment in the ground truth [m]."""
    publish_s: Positive = 1.0
    """How often the machines publish their variables [s of line time]."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.recipe.zone_temperatures_c) != len(self.layout.zones):
            raise ValueError(
                f"recipe.zone_temperatures_c has {len(self.recipe.zone_temperatures_c)} values, "
                f"layout.zones has {len(self.layout.zones)} zones"
            )
        end = 0.0
        for number, zone in enumerate(self.layout.zones, 1):
            if zone.start < end or zone.end <= zone.start:
                raise ValueError(f"layout.zones: zone {number} starts before {end:g} m or is empty")
            end = zone.end
        if self.layout.rewinder < end:
            raise ValueError("layout.rewinder lies inside the dryer")
        unknown = set(self.gauges) - set(_default_gauges())
        if unknown:
            raise ValueError(
                f"gauges: unknown {', '.join(sorted(unknown))}; "
                f"known are {', '.join(sorted(_default_gauges()))}"
            )
        for name, gauge in self.gauges.items():
            if name != "calendered_thickness" and gauge.position > self.layout.rewinder:
                raise ValueError(f"gauges.{name}.position lies behind the rewinder")
        ratio = self.segment_m / self.cell_m
        if abs(ratio - round(ratio)) > 1e-9:
            raise ValueError("segment_m must be a multiple of cell_m")
        return self
