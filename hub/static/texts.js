/*
 * Every word that the page shows, in English and Simplified Chinese, and which of the two is chosen.
 */

export const TEXTS = {
  en: {
    languageName: "English",
    connecting: "Connecting…",
    connected: "Connected",
    draining: "Connected; the hub is about to restart",
    reconnecting: (seconds, code) => `Connection lost (${code}). Reconnecting in ${seconds} s`,
    ended: (code, reason) => `Closed by the hub (${code}${reason && ": " + reason}). Not reconnecting`,
    tokenNeeded: "Not connected: a token is needed",
    connectNow: "Connect now",
    simulated: "SIMULATED MARKET: every price on this page is invented. Do not trade on it.",
    recording: (_, day) => `RECORDING${day && " of " + day}: prices of a past day, played again. Do not trade on them.`,
    live: (source) => `Live source: ${source}`,
    notLive: "Not connected: the prices below are old.",
    stale: (market) => `${market} is STALE: the market is open, but rows are overdue. Its prices may be old.`,
    sourceTrouble: (source, state, detail) => `The source ${source} is ${state}${detail && ": " + detail}`,
    tokenLabel: "This hub asks for a token",
    tokenSend: "Connect",
    tokenKept: "It is kept in this tab only, until you close it.",
    tokenRefused: "The hub did not accept this token.",
    marketsTitle: "Markets",
    marketsUnknown: "Not known",
    markets: { SH: "Shanghai", SZ: "Shenzhen", BJ: "Beijing" },
    states: { live: "live", quiet: "quiet", stale: "STALE", closed: "closed", degraded: "degraded", away: "away" },
    phases: {
      closed: "closed", pre_open: "before the opening", call_auction: "call auction", break: "break before 09:30",
      continuous: "continuous trading", lunch: "lunch", closing_auction: "closing auction", after_hours: "after hours",
    },
    age: (age) => `newest row ${age} old`,
    noRowYet: "no row yet",
    seconds: (seconds) => `${seconds} s`,
    minutes: (minutes) => `${minutes} min`,
    pricesTitle: "Prices",
    watchLabel: "Codes or patterns, separated by spaces",
    watchShow: "Show",
    asking: "Asking the hub which instruments there are…",
    nothing: "No instrument matches yet.",
    shown: (shown, matching) =>
      shown === matching
        ? `Showing ${shown} instruments.`
        : `Showing ${shown} of ${matching} instruments; ${matching - shown} more match.`,
    problem: (message) => `The hub says: ${message}`,
    columns: {
      code: "Code", last: "Last", change: "Change", bidVolume: "Bid vol.", bid: "Bid", ask: "Ask",
      askVolume: "Ask vol.", volume: "Volume", time: "Time", delay: "Delay",
    },
    legend:
      "Red is up and green is down against the previous close. Volumes are in hands of 100 shares, times in China " +
      "Standard Time. The delay runs from the hub's receipt of a row to its arrival here, by the clocks of both.",
  },
  "zh-CN": {
    languageName: "中文",
    connecting: "正在连接…",
    connected: "已连接",
    draining: "已连接，行情中心即将重启",
    reconnecting: (seconds, code) => `连接已断开（${code}），${seconds} 秒后重新连接`,
    ended: (code, reason) => `连接被行情中心关闭（${code}${reason && "：" + reason}），不再重连`,
    tokenNeeded: "未连接：需要访问令牌",
    connectNow: "立即连接",
    simulated: "模拟行情：本页所有价格均为虚构，请勿据此交易。",
    recording: (_, day) => `录制回放：本页回放${day || "历史某日"}的行情，并非当前行情，请勿据此交易。`,
    live: (source) => `实时行情源：${source}`,
    notLive: "未连接：下方价格已过时。",
    stale: (market) => `${market}行情停滞：市场处于交易时段，但数据逾期未到，其价格可能已过时。`,
    sourceTrouble: (source, state, detail) => `行情源 ${source} ${state}${detail && "：" + detail}`,
    tokenLabel: "连接此行情中心需要访问令牌",
    tokenSend: "连接",
    tokenKept: "令牌仅保存在此标签页中，关闭标签页即清除。",
    tokenRefused: "行情中心未接受该令牌。",
    marketsTitle: "市场",
    marketsUnknown: "暂无信息",
    markets: { SH: "上海", SZ: "深圳", BJ: "北京" },
    states: { live: "正常", quiet: "平静", stale: "停滞", closed: "休市", degraded: "异常", away: "已断开" },
    phases: {
      closed: "休市", pre_open: "开盘前", call_auction: "集合竞价", break: "开盘前静默",
      continuous: "连续竞价", lunch: "午间休市", closing_auction: "收盘集合竞价", after_hours: "盘后",
    },
    age: (age) => `最新数据距今 ${age}`,
    noRowYet: "尚无数据",
    seconds: (seconds) => `${seconds} 秒`,
    minutes: (minutes) => `${minutes} 分钟`,
    pricesTitle: "行情",
    watchLabel: "证券代码或通配模式，以空格分隔",
    watchShow: "显示",
    asking: "正在查询可用的证券…",
    nothing: "暂无匹配的证券。",
    shown: (shown, matching) =>
      shown === matching
        ? `共显示 ${shown} 只证券。`
        : `显示 ${matching} 只匹配证券中的 ${shown} 只，另有 ${matching - shown} 只未显示。`,
    problem: (message) => `行情中心提示：${message}`,
    columns: {
      code: "代码", last: "最新价", change: "涨跌幅", bidVolume: "买一量", bid: "买一", ask: "卖一",
      askVolume: "卖一量", volume: "成交量", time: "时间", delay: "延迟",
    },
    legend:
      "红涨绿跌，相对前收盘价。量的单位为手（100 股），时间为北京时间。" +
      "延迟为行情中心收到数据至本页收到数据的时间，按两端各自的时钟计算。",
  },
};

/** The chosen language, as `lang` attributes name it. */
export let language = navigator.language.toLowerCase().startsWith("zh") ? "zh-CN" : "en";

export function otherLanguage() {
  return language === "en" ? "zh-CN" : "en";
}

export function switchLanguage() {
  language = otherLanguage();
}

/** The words for a key in the chosen language; `values` fill a text that has places for some. */
export function say(key, ...values) {
  const text = TEXTS[language][key];
  return typeof text === "function" ? text(...values) : text;
}

/** What a language is called in itself. */
export function nameOf(languageTag) {
  return TEXTS[languageTag].languageName;
}

/** The word for one of the hub's own, such as a phase; one that this page does not know is shown as it is. */
export function sayWord(key, word) {
  const words = TEXTS[language][key];
  return Object.hasOwn(words, word) ? words[word] : String(word);
}
