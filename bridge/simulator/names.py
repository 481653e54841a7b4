"""Made-up company names in the style of the A-share market: four characters, the last two telling the sector.

The first two are drawn from characters that are rare in the names of listed companies, so that an invented price
is not taken for a real company's.
"""

from typing import Final

from bridge.simulator.draws import Draws

_FIRST: Final = "岚昱沅澜霁翎珩骏峻屹煦澄瀚璟琅隽祺烁钰铄淳湛沐泓漪澍皓昶晟暄朗旭曜景云鹤鹭雁鹏麟"
_SECOND: Final = "川原岭峰泽溪湖舟桥坤垣岩石松柏桐杉枫荷兰芷芸蓝青玄白霜雪露虹霖岳丘陵洲屿港湾亭"

SECTORS: Final = (
    ("银行", "金控"),
    ("证券", "资本"),
    ("地产", "置业"),
    ("建设", "工程"),
    ("水泥", "建材"),
    ("钢铁", "特钢"),
    ("矿业", "黄金"),
    ("煤业", "能源"),
    ("石化", "油服"),
    ("化工", "化学"),
    ("电力", "水电"),
    ("环保", "环境"),
    ("机械", "重工"),
    ("精工", "机床"),
    ("汽车", "汽配"),
    ("航空", "航天"),
    ("船舶", "海工"),
    ("家电", "电器"),
    ("食品", "乳业"),
    ("酒业", "酿酒"),
    ("农业", "种业"),
    ("纺织", "服饰"),
    ("造纸", "包装"),
    ("商贸", "百货"),
    ("物流", "港口"),
    ("传媒", "影视"),
    ("旅游", "文旅"),
    ("医药", "生物"),
    ("医疗", "器械"),
    ("电子", "光电"),
    ("软件", "信息"),
    ("通信", "网络"),
    ("锂电", "材料"),
    ("光伏", "风电"),
    ("芯片", "微电"),
)
"""Per sector, how its companies call themselves. Instruments of one sector move together."""


class Namer:
    """Gives every instrument a name of its own."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._taken: set[str] = set()

    def name(self, sector: int, *, st: bool) -> str:
        """A name that was not given before, for an instrument of ``sector``; ``st`` marks it as the exchanges do."""
        uniform = self._draws.uniform
        while True:
            stem = _FIRST[int(uniform() * len(_FIRST))] + _SECOND[int(uniform() * len(_SECOND))]
            words = SECTORS[sector]
            name = stem + words[int(uniform() * len(words))]
            if st:
                name = ("*ST" if uniform() < 0.4 else "ST") + name[:2]
            if name not in self._taken:
                self._taken.add(name)
                return name
