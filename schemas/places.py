"""Countries and the regions they are in, and ages and their bands: what a shop writes down finely and an analyst looks at coarsely.

A country is known by its English name, by the name that it has at home where shops use that, and by its ISO codes of two and three
letters; whatever else stands there has no known region.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

BANDS: Final = ((0, "under 18"), (18, "18-24"), (25, "25-34"), (35, "35-44"), (45, "45-54"), (55, "55-64"), (65, "65+"))
"""From which age a band goes, and its name."""
_STARTS: Final = [start for start, _ in BANDS]

_NAMES: Final = {
    "North America": """
        United States|USA|US|United States of America|U.S.A.; Canada|CAN|CA; Mexico|MEX|MX|México; Greenland|GRL|GL; Bermuda|BMU|BM""",
    "Latin America": """
        Brazil|BRA|BR|Brasil; Argentina|ARG|AR; Chile|CHL|CL; Colombia|COL|CO; Peru|PER|PE|Perú; Venezuela|VEN|VE; Ecuador|ECU|EC;
        Bolivia|BOL|BO; Paraguay|PRY|PY; Uruguay|URY|UY; Guyana|GUY|GY; Suriname|SUR|SR; Costa Rica|CRI|CR; Panama|PAN|PA|Panamá;
        Guatemala|GTM|GT; Honduras|HND|HN; El Salvador|SLV|SV; Nicaragua|NIC|NI; Belize|BLZ|BZ; Cuba|CUB|CU; Dominican Republic|DOM|DO;
        Haiti|HTI|HT; Jamaica|JAM|JM; Puerto Rico|PRI|PR; Trinidad and Tobago|TTO|TT; Bahamas|BHS|BS; Barbados|BRB|BB""",
    "Western Europe": """
        United Kingdom|GBR|GB|UK|Great Britain|England|Scotland|Wales; Channel Islands; Ireland|IRL|IE|EIRE; France|FRA|FR;
        Germany|DEU|DE|Deutschland; Austria|AUT|AT|Österreich; Switzerland|CHE|CH|Schweiz|Suisse; Liechtenstein|LIE|LI; Belgium|BEL|BE|België;
        Netherlands|NLD|NL|Nederland|The Netherlands; Luxembourg|LUX|LU; Monaco|MCO|MC""",
    "Northern Europe": """
        Denmark|DNK|DK|Danmark; Sweden|SWE|SE|Sverige; Norway|NOR|NO|Norge; Finland|FIN|FI|Suomi; Iceland|ISL|IS; Estonia|EST|EE;
        Latvia|LVA|LV; Lithuania|LTU|LT""",
    "Southern Europe": """
        Spain|ESP|ES|España; Portugal|PRT|PT; Italy|ITA|IT|Italia; Greece|GRC|GR; Malta|MLT|MT; Cyprus|CYP|CY; Andorra|AND|AD;
        San Marino|SMR|SM; Gibraltar|GIB|GI; Croatia|HRV|HR; Slovenia|SVN|SI; Bosnia and Herzegovina|BIH|BA; Serbia|SRB|RS; Montenegro|MNE|ME;
        North Macedonia|MKD|MK; Albania|ALB|AL; Kosovo|XKX|XK""",
    "Eastern Europe": """
        Poland|POL|PL|Polska; Czech Republic|CZE|CZ|Czechia; Slovakia|SVK|SK; Hungary|HUN|HU; Romania|ROU|RO; Bulgaria|BGR|BG;
        Ukraine|UKR|UA; Belarus|BLR|BY; Moldova|MDA|MD; Russia|RUS|RU|Russian Federation""",
    "Middle East": """
        Turkey|TUR|TR|Türkiye; Israel|ISR|IL; Saudi Arabia|SAU|SA; United Arab Emirates|ARE|AE|UAE; Qatar|QAT|QA; Kuwait|KWT|KW;
        Bahrain|BHR|BH; Oman|OMN|OM; Jordan|JOR|JO; Lebanon|LBN|LB; Iraq|IRQ|IQ; Iran|IRN|IR; Syria|SYR|SY; Yemen|YEM|YE; Palestine|PSE|PS""",
    "Africa": """
        South Africa|ZAF|ZA|RSA; Nigeria|NGA|NG; Kenya|KEN|KE; Ghana|GHA|GH; Ethiopia|ETH|ET; Tanzania|TZA|TZ; Uganda|UGA|UG; Rwanda|RWA|RW;
        Egypt|EGY|EG; Morocco|MAR|MA; Algeria|DZA|DZ; Tunisia|TUN|TN; Libya|LBY|LY; Sudan|SDN|SD; Senegal|SEN|SN; Ivory Coast|CIV|CI|Côte d'Ivoire;
        Cameroon|CMR|CM; Angola|AGO|AO; Mozambique|MOZ|MZ; Zambia|ZMB|ZM; Zimbabwe|ZWE|ZW; Botswana|BWA|BW; Namibia|NAM|NA; Madagascar|MDG|MG;
        Mauritius|MUS|MU""",
    "Asia": """
        China|CHN|CN; Japan|JPN|JP; South Korea|KOR|KR|Korea; Taiwan|TWN|TW; Hong Kong|HKG|HK; Macao|MAC|MO; Mongolia|MNG|MN; India|IND|IN;
        Pakistan|PAK|PK; Bangladesh|BGD|BD; Sri Lanka|LKA|LK; Nepal|NPL|NP; Singapore|SGP|SG; Malaysia|MYS|MY; Indonesia|IDN|ID;
        Philippines|PHL|PH; Thailand|THA|TH; Vietnam|VNM|VN|Viet Nam; Cambodia|KHM|KH; Laos|LAO|LA; Myanmar|MMR|MM; Kazakhstan|KAZ|KZ;
        Uzbekistan|UZB|UZ; Georgia|GEO|GE; Armenia|ARM|AM; Azerbaijan|AZE|AZ""",
    "Oceania": "Australia|AUS|AU; New Zealand|NZL|NZ; Fiji|FJI|FJ; Papua New Guinea|PNG|PG",
}

_WITH_ARTICLE: Final = frozenset(
    name
    for names in (
        "United States|United States of America|USA|US",
        "United Kingdom|UK|Channel Islands|Netherlands|Czech Republic",
        "Bahamas|Dominican Republic|United Arab Emirates|UAE|Philippines",
    )
    for name in names.split("|")
)

REGIONS: Final = {
    " ".join(name.split()): region
    for region, countries in _NAMES.items()
    for country in countries.split(";")
    for name in country.split("|")
}
"""Every way a country is written -> its region."""


def region(country: str | None) -> str | None:
    """The region of a country, None where it is not known.

    >>> region("Brasil"), region("DE"), region("Atlantis"), region(None)
    ('Latin America', 'Western Europe', None, None)
    """
    return None if country is None else REGIONS.get(country)


def band(age: int | None) -> str | None:
    """The band of an age, None where it is not known.

    >>> band(17), band(18), band(99), band(None)
    ('under 18', '18-24', '65+', None)
    """
    return None if age is None else BANDS[max(0, bisect_right(_STARTS, age) - 1)][1]


def spoken(country: str) -> str:
    """A country as it stands in a sentence.

    >>> spoken("United States"), spoken("France")
    ('the United States', 'France')
    """
    return f"the {country}" if country in _WITH_ARTICLE else country
