"""Indicators: one feature to a file, and in `families` what some of them share."""

from crypy.features.indicators.absolute import Absolute
from crypy.features.indicators.body import Body
from crypy.features.indicators.body_position import BodyPosition
from crypy.features.indicators.clip import Clip
from crypy.features.indicators.close_position import ClosePosition
from crypy.features.indicators.cosine import Cosine
from crypy.features.indicators.decay import Decay
from crypy.features.indicators.difference import Difference
from crypy.features.indicators.ends_on import EndsOn
from crypy.features.indicators.equal import Equal
from crypy.features.indicators.ewm_deviation import EwmDeviation
from crypy.features.indicators.ewm_mean import EwmMean
from crypy.features.indicators.ewm_z_score import EwmZScore
from crypy.features.indicators.lagged import Lagged
from crypy.features.indicators.log import Log
from crypy.features.indicators.log_range import LogRange
from crypy.features.indicators.log_ratio import LogRatio
from crypy.features.indicators.log_return import LogReturn
from crypy.features.indicators.log_volume import LogVolume
from crypy.features.indicators.lower_wick import LowerWick
from crypy.features.indicators.parkinson import Parkinson
from crypy.features.indicators.product import Product
from crypy.features.indicators.ratio import Ratio
from crypy.features.indicators.realised_volatility import RealisedVolatility
from crypy.features.indicators.rolling_deviation import RollingDeviation
from crypy.features.indicators.rolling_max import RollingMax
from crypy.features.indicators.rolling_mean import RollingMean
from crypy.features.indicators.rolling_min import RollingMin
from crypy.features.indicators.round_number_distance import RoundNumberDistance
from crypy.features.indicators.sign import Sign
from crypy.features.indicators.signed_volume import SignedVolume
from crypy.features.indicators.sine import Sine
from crypy.features.indicators.tanh import Tanh
from crypy.features.indicators.tie_share import TieShare
from crypy.features.indicators.upper_wick import UpperWick
from crypy.features.indicators.vwap_distance import VwapDistance
from crypy.features.indicators.weekend import Weekend
from crypy.features.indicators.window_range import WindowRange
from crypy.features.indicators.z_score import ZScore

__all__ = [
    "Absolute",
    "Body",
    "BodyPosition",
    "Clip",
    "ClosePosition",
    "Cosine",
    "Decay",
    "Difference",
    "EndsOn",
    "Equal",
    "EwmDeviation",
    "EwmMean",
    "EwmZScore",
    "Lagged",
    "Log",
    "LogRange",
    "LogRatio",
    "LogReturn",
    "LogVolume",
    "LowerWick",
    "Parkinson",
    "Product",
    "Ratio",
    "RealisedVolatility",
    "RollingDeviation",
    "RollingMax",
    "RollingMean",
    "RollingMin",
    "RoundNumberDistance",
    "Sign",
    "SignedVolume",
    "Sine",
    "Tanh",
    "TieShare",
    "UpperWick",
    "VwapDistance",
    "Weekend",
    "WindowRange",
    "ZScore",
]
