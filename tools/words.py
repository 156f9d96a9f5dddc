"""The word lists behind datasets/sentiment and the text models/tiny has read; all our own."""


def listed(text):
    """Return the parts of a list written in one string, separated by semicolons."""
    return [part.strip() for part in text.split(";")]


def topic(things, good, bad, plain):
    """Return one topic: its nouns, and for each mood the predicates that fit all of them."""
    return {
        "things": listed(things),
        "good": listed(good),
        "bad": listed(bad),
        "plain": listed(plain),
    }


TOPICS = {
    "en": [
        topic(
            "the soup; the noodle dish; the apple pie; the grilled fish; the fried rice; the salad;"
            "the birthday cake; the beef curry; the cheese bread",
            "tasted fresh and rich; was cooked just right; smelled wonderful; was full of flavour;"
            "made the whole table smile; was the best I have had in years; was warm and delicious",
            "tasted flat and stale; was burnt on one side; arrived cold and greasy; smelled sour;"
            "was far too salty; gave me a stomach ache; was the worst I have had in years",
            "comes in two sizes; is served after eleven; is on the second page of the menu;"
            "contains garlic; costs nine dollars; is made in the back kitchen",
        ),
        topic(
            "the phone; the kettle; the vacuum cleaner; the desk lamp; the backpack; the keyboard;"
            "the office chair; the camera; the headset; the washing machine",
            "works like a charm; feels solid and well made; saves me an hour every day;"
            "is worth every cent; looks even better than in the pictures; is a pleasure to use",
            "broke after two days; feels cheap and flimsy; stopped working within a week;"
            "is a waste of money; arrived with a deep scratch; never did what the box promised",
            "comes in black and grey; weighs about two kilos; was delivered on Monday;"
            "has a warranty of two years; is sold in most shops; has a label on the bottom",
        ),
        topic(
            "the film; the play; the documentary; the comedy; the musical; the show; the thriller",
            "kept me smiling all evening; moved me to tears of joy; was clever and well acted;"
            "deserves every prize; had a brilliant ending; was gripping from start to finish",
            "bored me to death; was dull and badly acted; had a silly plot; dragged on and on;"
            "put half the audience to sleep; insulted my intelligence; fell apart at the end",
            "lasts about two hours; starts at half past seven; is based on a novel;"
            "has five main characters; is shown in the large hall; has subtitles in French",
        ),
        topic(
            "the weather; the morning; the afternoon; the evening; the weekend; the holiday;"
            "the day at the lake; the first day of spring",
            "was sunny and mild; was simply glorious; brought a gentle breeze and clear skies;"
            "was perfect for a picnic; put everyone in a good mood; felt warm and pleasant",
            "was wet and miserable; brought nothing but freezing rain; ruined our picnic;"
            "was grey and gloomy; put everyone in a bad mood; was spoiled by a nasty storm",
            "began with some clouds; was much like the one before; was neither warm nor cold;"
            "stayed between ten and fifteen degrees; brought a light wind from the west",
        ),
        topic(
            "the waiter; the nurse; the driver; the receptionist; the shop assistant; the guide;"
            "the mechanic; the delivery man; the bank clerk; the support agent",
            "was kind and patient; solved my problem in minutes; greeted us with a warm smile;"
            "gladly answered every question; was polite and very helpful; made us feel at home",
            "was rude and impatient; ignored me for an hour; shouted at my mother;"
            "made one mistake after another; lied to us about the price; did not care at all",
            "wears a blue uniform; works from nine to five; asked for my address;"
            "gave me a form to sign; spoke with another customer; wrote down the number",
        ),
        topic(
            "the hotel; the hostel; the guest house; the campsite; the beach cabin; the inn;"
            "the holiday flat; the mountain lodge",
            "was spotless and quiet; had a breathtaking view; was a dream come true;"
            "was cosy and full of charm; made our trip unforgettable; exceeded all our hopes",
            "was filthy and loud; had mould on the walls; was a nightmare; had bugs in the beds;"
            "was overpriced and run down; spoiled our whole trip",
            "is next to the station; has forty places; opens at the end of May;"
            "has a car park behind it; lies two miles from the sea; takes bookings by telephone",
        ),
        topic(
            "the train; the bus; the ferry; the flight; the tram; the night coach",
            "arrived early and was spotless; was smooth and comfortable; had plenty of leg room;"
            "was a joy from start to finish; got us there fast and relaxed",
            "was three hours late; was packed and smelly; was cancelled without a word;"
            "made me sick; was dirty and painfully slow",
            "leaves at ten past six; goes north on weekdays; carries about a hundred people;"
            "is number forty-two; is listed on the board",
        ),
        topic(
            "the course; the lesson; the workshop; the lecture; the language class; the training",
            "was clear and inspiring; taught me more than I had hoped; gave me new confidence;"
            "was great fun; made a hard subject easy",
            "was confusing and dull; taught me nothing; was a complete waste of time;"
            "was badly prepared; left me frustrated",
            "takes place on Thursdays; has twenty places; is held in room twelve;"
            "begins in September; covers three chapters",
        ),
        topic(
            "the app; the website; the game; the update; the online shop; the map program",
            "is fast and easy to use; has made my life easier; looks gorgeous;"
            "is a delight every day; fixed all the old problems",
            "crashes all the time; is slow and full of bugs; deleted my photos;"
            "is a pain to use; shows annoying adverts everywhere",
            "needs an account; is available in nine languages; has a menu on the left;"
            "was released in March; uses forty megabytes",
        ),
    ],
    "zh": [
        topic(
            "这碗面;这道鱼;这份炒饭;这个苹果派;这锅汤;这块蛋糕;这盘饺子;这份牛肉",
            "味道鲜美;香气扑鼻;好吃极了;做得恰到好处;让全家人赞不绝口;新鲜又可口;是我尝过最好的",
            "难吃极了;又冷又油;咸得没法入口;有一股怪味;让我肚子疼;一点也不新鲜;是我尝过最差的",
            "分大小两种;十一点以后供应;写在菜单第二页;卖二十元;是在后厨做的;里面放了姜",
        ),
        topic(
            "这部手机;这个水壶;这台吸尘器;这盏台灯;这个背包;这把椅子;这台相机;这副耳机;这台洗衣机",
            "非常好用;做工很扎实;物超所值;每天帮我省下不少时间;用了一年还像新的一样;质量让人放心",
            "用了两天就坏了;做工粗糙;完全不值这个价;到手就有划痕;根本没法用;质量太差了",
            "有黑色和灰色两种;重约两公斤;星期一送到了;保修两年;附带一本说明书;底部贴着标签",
        ),
        topic(
            "这部电影;这出话剧;这部纪录片;这部喜剧;这场演出;这部动画片;这部音乐剧",
            "精彩极了;让我感动得流下眼泪;从头到尾都很吸引人;结局令人惊喜;值得再看一遍;温暖人心",
            "无聊透顶;情节乱七八糟;看得我直打瞌睡;结局令人失望;浪费了我两个小时;一点意思也没有",
            "长约两个小时;七点半开始;在大厅上演;改编自一本小说;有五个主要人物;配有英文字幕",
        ),
        topic(
            "今天的天气;早上的天气;周末的天气;这里的春天;海边的夏天;山里的秋天;这几天的天气",
            "晴朗又舒服;好得让人心情愉快;最适合出去野餐;温暖宜人;美得像一幅画;让大家都很开心",
            "又湿又冷;糟糕透了;让人心情低落;毁了我们的野餐;闷热得让人难受;阴沉得让人难受",
            "以多云为主;和去年差不多;在十度到十五度之间;有一点西风;不冷也不热;和预报里说的一样",
        ),
        topic(
            "这位服务员;这位护士;这位司机;前台的接待员;这位店员;客服人员;修理师傅;这位导游;送货员",
            "态度亲切又耐心;几分钟就解决了我的问题;笑着迎接我们;主动帮了大忙;非常有礼貌",
            "态度恶劣;一个小时都不理我;对我妈妈大喊大叫;根本不关心我的问题;不停地出错;骗了我们",
            "穿着蓝色的制服;九点上班五点下班;问了我的地址;给了我一张表格;在三楼办公;记下了号码",
        ),
        topic(
            "这家酒店;这家旅馆;这间民宿;这个营地;海边的小屋;山上的客栈;这套度假公寓",
            "干净又安静;风景美得惊人;让人像回到了家;舒适又温馨;让我们的旅行难忘;比想象中好得多",
            "又脏又吵;墙上长满了霉;简直是一场噩梦;又贵又破旧;毁了我们的旅行;床上有虫子",
            "在车站旁边;有四十个床位;五月底开门;后面有停车场;离海边三公里;可以电话预订",
        ),
        topic(
            "这趟火车;这班公交车;这艘渡轮;这次航班;这趟夜车",
            "准点又舒适;又快又稳;座位宽敞舒服;让人一路轻松愉快",
            "晚点三个小时;又挤又臭;没有理由就取消了;慢得让人发火;脏得让人难受",
            "六点十分出发;每天一班;工作日往北走;编号是四十二;能坐一百人左右",
        ),
        topic(
            "这门课;这堂课;这次讲座;这个培训班;这门语言课",
            "讲得清楚又有趣;让我收获很大;给了我新的信心;生动极了;解答了我所有的问题",
            "讲得乱七八糟;什么也没教会我;完全是浪费时间;准备得很差;让我越听越糊涂",
            "安排在星期四;有二十个名额;在十二号教室上;九月开始;一共讲三章",
        ),
        topic(
            "这个软件;这个网站;这个游戏;这个新版本;这家网店;这个地图程序",
            "又快又好用;让我的生活方便多了;做得漂亮极了;每天都给我带来快乐;把老问题都修好了",
            "总是出错;又慢又多毛病;把我的照片弄丢了;用起来很痛苦;到处都是烦人的广告",
            "需要注册账号;支持九种语言;左边有一个菜单;是三月发布的;占用四十兆空间",
        ),
    ],
}

# Whole sentences about a {thing}; negation is here, so that single words do not give the mood away.
OPINIONS = {
    "en": {
        "good": listed(
            "I love {thing}.; We were delighted with {thing}.; {thing} was not bad at all.;"
            "I have nothing but praise for {thing}.; What a pleasant surprise {thing} was!;"
            "{thing} was anything but a disappointment.; I have no complaints about {thing}.;"
            "I could not be happier with {thing}.; Everyone in my family liked {thing}.;"
            "I can only recommend {thing}.; Thanks to {thing} I had a great day."
        ),
        "bad": listed(
            "I hate {thing}.; We were let down by {thing}.; {thing} was not good at all.;"
            "I have nothing good to say about {thing}.; What a disappointment {thing} was!;"
            "{thing} was anything but a pleasure.; I have many complaints about {thing}.;"
            "I could not be more upset with {thing}.; Nobody in my family liked {thing}.;"
            "I cannot recommend {thing}.; Because of {thing} I had an awful day."
        ),
        "plain": listed(
            "I have no strong opinion about {thing}.; My neighbour asked me about {thing}.;"
            "{thing} was about what I expected.; {thing} was mentioned in a letter.;"
            "There is a short note about {thing} in the paper.; This is a picture of {thing}.;"
            "{thing} was neither good nor bad.; Some people like {thing} and others do not.;"
            "I wrote down a few facts about {thing}.; We spoke briefly about {thing}."
        ),
    },
    "zh": {
        "good": listed(
            "我太喜欢{thing}了。;我对{thing}非常满意。;{thing}一点也不差。;{thing}真让人惊喜！;"
            "说到{thing}，我只想称赞。;{thing}没有让我失望。;全家人都爱{thing}。;"
            "遇到{thing}真是太幸运了！;我一定会向朋友推荐{thing}。;{thing}挑不出毛病。"
        ),
        "bad": listed(
            "我太讨厌{thing}了。;我对{thing}非常失望。;{thing}一点也不好。;{thing}真让人生气！;"
            "说到{thing}，我只想抱怨。;{thing}没有让我满意。;全家人都受不了{thing}。;"
            "遇到{thing}真是太倒霉了！;我绝不会向朋友推荐{thing}。;{thing}找不出优点。"
        ),
        "plain": listed(
            "我对{thing}没有特别的看法。;邻居向我问起了{thing}。;{thing}和预料的差不多。;"
            "报纸上提到了{thing}。;我们谈了一会儿{thing}。;{thing}说不上好也说不上坏。;"
            "有人喜欢{thing}，也有人不喜欢。;这是{thing}的照片。;我记下了{thing}的一些情况。"
        ),
    },
}

OPENERS = {
    "en": {
        "good": listed("To my delight; Happily; I am glad to say that; From what I saw"),
        "bad": listed("Sadly; Unfortunately; I am sorry to say that; From what I saw"),
        "plain": listed("As far as I know; For the record; I was told that; From what I saw"),
    },
    "zh": {
        "good": listed("真高兴;太好了;没想到;说实话"),
        "bad": listed("真可惜;太糟了;没想到;说实话"),
        "plain": listed("据我所知;顺便说一下;听说;说实话"),
    },
}

TAILS = {
    "en": {
        "good": listed("and we were all thrilled; which made me very happy; and that made my day"),
        "bad": listed(
            "and we were all annoyed; which made me quite angry; and that spoiled my day"
        ),
        "plain": listed("as the sign says; or so I was told; just as before"),
    },
    "zh": {
        "good": listed("我很开心;大家都很满意;真是太棒了"),
        "bad": listed("我很生气;大家都很失望;真是太糟了"),
        "plain": listed("我只是记录一下;其他的我不清楚;情况就是这样"),
    },
}
